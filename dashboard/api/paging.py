"""Pages of rows: a cursor names the last row by its keys, so that rows which come in between move nothing.

Owns the cursor. Rows are sorted by their keys, as the queries give them.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

import msgspec

from dashboard.http import Refusal

LIMIT_MAX: Final = 10_000
LIMIT_DEFAULT: Final = 1000
_CURSOR_LENGTH_MAX: Final = 4000

Row = Mapping[str, object]
Line = TypeVar("Line")
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
        last = keys_of(after, len(KEYS[name]))
        begin = next((place for place, row in enumerate(rows) if sort_key(name, row) > last), len(rows))
    return cut(rows[begin : begin + limit + 1], limit, lambda row: sort_key(name, row))


def cut(
    rows: Sequence[Line], limit: int, sort_key_of: Callable[[Line], Sequence[str]]
) -> tuple[Sequence[Line], str | None]:
    """Return one page of the rows behind a cursor, and the cursor of the others, which a single row more tells of."""
    page = rows[:limit]
    return page, _cursor(sort_key_of(page[-1])) if len(rows) > limit else None


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


def _cursor(keys: Sequence[str]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(keys)).decode().rstrip("=")


def keys_of(cursor: str, count: int) -> list[str]:
    """Return the keys that a cursor is made of.

    Raises:
        Refusal: 400, this is no cursor, or one of an answer with more or fewer keys.
    """
    try:
        if len(cursor) > _CURSOR_LENGTH_MAX:
            raise ValueError("too long")
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        keys = msgspec.json.decode(base64.b64decode(padded, altchars=b"-_", validate=True), type=list[str])
        if len(keys) != count:
            raise ValueError("other keys")
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        raise Refusal(
            400, "after: this is no cursor of this answer; take `next` of the page before"
        ) from None
    return keys
