"""Pages of rows: a cursor names the last row by its keys, so that rows which come in between move nothing.

Owns the cursor. Rows are sorted by their keys, as the queries give them.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from dashboard.http import Refusal

LIMIT_MAX: Final = 10_000
LIMIT_DEFAULT: Final = 1000
_CURSOR_LENGTH_MAX: Final = 4000

Row = Mapping[str, object]
KEYS: Final[dict[str, tuple[str, ...]]] = {
    "usage": ("day", "account", "number", "country", "category", "template"),
    "conversations": ("day", "account", "number", "country", "type"),
    "incoming": ("day", "account", "number", "country"),
    "active-users": ("month", "account", "number"),
    "charges": ("day", "account", "number", "country", "market", "unit", "category", "currency", "rate"),
}
"""What tells the rows of an answer apart, in their order."""


def page_of(name: str, rows: Sequence[Row], after: str, limit: int) -> tuple[Sequence[Row], str | None]:
    """Return the rows behind a cursor, and the cursor of those behind them.

    Raises:
        Refusal: 400, this is no cursor of this answer.
    """
    begin = 0
    if after:
        last = _read(name, after)
        begin = next((place for place, row in enumerate(rows) if sort_key(name, row) > last), len(rows))
    page = rows[begin : begin + limit]
    is_last = begin + limit >= len(rows)
    return page, None if is_last else _cursor(sort_key(name, page[-1]))


def sort_key(name: str, row: Row) -> list[str]:
    """Return the keys of a row as texts that sort alike."""
    return [_text(row[key]) for key in KEYS[name]]


def _text(value: object) -> str:
    """Return a key's value as text: null, false and true in the order of the queries; numbers of one length."""
    if value is None:
        return "0"
    if isinstance(value, bool):
        return "2" if value else "1"
    return f"{value:024d}" if isinstance(value, int) else str(value)


def _cursor(keys: list[str]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(keys)).decode().rstrip("=")


def _read(name: str, cursor: str) -> list[str]:
    try:
        if len(cursor) > _CURSOR_LENGTH_MAX:
            raise ValueError("too long")
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        keys = msgspec.json.decode(base64.b64decode(padded, altchars=b"-_", validate=True), type=list[str])
        if len(keys) != len(KEYS[name]):
            raise ValueError("other keys")
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        raise Refusal(
            400, "after: this is no cursor of this answer; take `next` of the page before"
        ) from None
    return keys
