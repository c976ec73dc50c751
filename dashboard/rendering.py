"""The templates and what they may call. Everything they print is escaped."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from dashboard import formats
from dashboard.periods import days_text
from dashboard.ports import AccountInfo
from dashboard.views import query_of
from schemas.final_report import Freshness

_METHODS: Final = {
    "complete": "the month is over",
    "earlier_months": "by the course of the months before",
    "last_month": "by the course of the month before",
    "growth_curve": "by how new users have become fewer so far",
    "straight_line": "at an even pace",
    "too_early": "too early to say",
}
_LIMITS: Final = {
    "mau_package": "MAU package",
    "free_service": "Free service messages",
    "volume_tier": "Volume tier",
    "conversation_budget": "Conversation budget",
}


def environment() -> Environment:
    """Return the templates."""
    made = Environment(
        loader=PackageLoader("dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        number_text=formats.number_text,
        change_text=formats.change_text,
        cost_texts=formats.cost_texts,
        exact_cost_text=formats.exact_cost_text,
        country_name=formats.country_name,
        phone_text=formats.phone_text,
        time_text=formats.time_text,
        age_text=formats.age_text,
        month_text=formats.month_text,
        days_text=days_text,
        number_title=_number_title,
        newest_received=_newest_received,
        cell_text=_cell_text,
        url_query=query_of,
    )
    made.globals.update(methods=_METHODS, limit_titles=_LIMITS)
    return made


def _number_title(number: str, info: AccountInfo) -> str:
    return info.number_title(number)


def _newest_received(fresh: Iterable[Freshness]) -> datetime | None:
    """Return when the newest webhook came in that is counted, over all partitions.

    A partition whose users are silent stays where it is, which says nothing about how fresh it is.
    """
    return max((each.received_until for each in fresh if each.received_until), default=None)


def _cell_text(cell: str | int | Decimal | date | None, kind: str) -> str:
    """Return a cell of the final report as a page prints it."""
    if cell is None:
        return "no price" if kind in ("money", "price") else formats.NO_VALUE
    if isinstance(cell, (int, Decimal)):
        return f"{cell:,} %" if kind == "percent" else f"{cell:,}"
    return str(cell)
