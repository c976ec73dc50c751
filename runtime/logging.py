"""Structured logs on stderr, without personal data.

Owns the log format and the masking of user identities. Does not own what is logged; no request is ever logged.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal, TextIO

import orjson

LogFormat = Literal["json", "text"]

# Seven digits are the shortest subscriber number in use. A business-scoped user id is a country code, a dot
# and letters and digits; fewer than four of these would also hide ordinary words such as "OK.Go".
_IDENTITY = re.compile(r"\b[A-Z]{2}\.(?:ENT\.)?[A-Za-z0-9]{4,128}\b|\d{7,}")
MASK = "[masked]"

UNMASKED_FIELDS: frozenset[str] = frozenset(
    {
        "account",
        "bytes",
        "commit_sequence",
        "events",
        "installation",
        "notice",
        "offset",
        "partition",
        "port",
        "rows",
        "settings",
    }
)
"""Fields given by ``extra=`` that are our own numbers or a business's id, never a person's."""

_STANDARD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_SILENT_LOGGERS = ("uvicorn.access", "httpx", "httpcore")
"""They write one line per request, with addresses and query strings."""


def mask(text: str) -> str:
    """Return the text with phone numbers (7 or more digits in a row) and business-scoped user ids replaced."""
    return _IDENTITY.sub(MASK, text)


class MaskingFormatter(logging.Formatter):
    """Formats a record as one line of JSON or text; masks the message, the extra fields and the traceback."""

    def __init__(self, log_format: LogFormat) -> None:
        """Choose the shape of a line."""
        super().__init__()
        self._json = log_format == "json"

    def format(self, record: logging.LogRecord) -> str:
        """Return the finished line (a traceback in text format takes several)."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        message = mask(record.getMessage())
        fields = dict(_extra_fields(record))
        trace = mask(self.formatException(record.exc_info)) if record.exc_info else ""
        if self._json:
            line: dict[str, object] = {"time": moment, "level": record.levelname.lower()}
            line |= {"logger": record.name, "message": message} | fields
            if trace:
                line["exception"] = trace
            return orjson.dumps(line, default=str).decode()
        suffix = "".join(f" {name}={value}" for name, value in fields.items())
        text = f"{moment} {record.levelname:<7} {record.name}: {message}{suffix}"
        return f"{text}\n{trace}" if trace else text


def _extra_fields(record: logging.LogRecord) -> Iterator[tuple[str, object]]:
    for name, value in vars(record).items():
        if name in _STANDARD_ATTRIBUTES or name.startswith("_"):
            continue
        if name in UNMASKED_FIELDS or isinstance(value, bool | float) or value is None:
            yield name, value
        else:
            yield name, mask(str(value))


def configure_logging(log_format: LogFormat, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send all logs of the process to one stream (default stderr), replacing handlers that were there.

    Libraries that log each request are silenced. uvicorn must be started with ``log_config=None``, or it puts
    its own handlers back.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(MaskingFormatter(log_format))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _SILENT_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
