"""Prints a final report: json and csv for programs, xlsx and pdf for people. The numbers are the same in all.

Owns the choice of format. Each format has a module of its own; what a report is, ``schemas.final_report`` says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, get_args

from schemas.final_report import FinalReport
from sinks.exports.flat import as_csv, as_json
from sinks.exports.page import as_pdf
from sinks.exports.workbook import as_xlsx

__all__ = ["FORMATS", "ReportFormat", "render"]

ReportFormat = Literal["json", "csv", "xlsx", "pdf"]
FORMATS: Final[tuple[ReportFormat, ...]] = get_args(ReportFormat)
_RENDERERS: Final[dict[ReportFormat, Callable[[FinalReport], bytes]]] = {
    "json": as_json,
    "csv": as_csv,
    "xlsx": as_xlsx,
    "pdf": as_pdf,
}


def render(report: FinalReport, report_format: ReportFormat) -> bytes:
    """Return a report as the content of a file; the same report gives the same bytes."""
    return _RENDERERS[report_format](report)
