"""Removing what people wrote from an update before it is set aside.

Owns which fields may keep their values. Does not own when that happens (``schemas.meta``, ``schemas.canonical``) nor
the setting that keeps the text.

The list says what is *kept*: a field that a provider invents tomorrow loses its text until someone has looked at it.
Fields that by their name hold an id, a time or a word of a vocabulary are kept, because an update must still mean the
same when it is replayed.
"""

from __future__ import annotations

from enum import Enum

from schemas.events import Event

_DEPTH_MAX = 64
"""No field that is metered stands deeper; JSON may nest further than Python may recurse."""

_CONTENT = frozenset(
    {
        "audio", "body", "button", "caption", "contacts", "document", "edit", "emoji", "image", "interactive",
        "location", "name", "order", "profile", "reaction", "revoke", "sticker", "text", "username", "vcard", "video",
    }
)  # fmt: skip
"""Everything below these is content: numbers (a location) and ids (a button's, a contact card's) go as well."""

_KEPT = frozenset(Event.__struct_fields__) | {
    "biz_opaque_callback_data",
    "display_phone_number",
    "field",
    "from",
    "id",
    "messaging_product",
    "object",
    "status",
    "timestamp",
    "type",
    "wa_id",
}
_REPLACED = frozenset({"user_id", "parent_user_id"})
_PREVIOUS_AND_CURRENT = frozenset({"previous", "current"})
"""In an identity update the ids above are objects of two. By their own names the two could be anything."""
_KEPT_ENDINGS = (
    "_id",
    "_ids",
    "_type",
    "_model",
    "_at",
    "_time",
    "_timestamp",
    "_category",
    "_status",
    "_hash",
)


class _Keep(Enum):
    """Which texts stay below a field."""

    ALL = 1
    NAMED = 2
    NONE = 3


def without_text(update: object, *, keep_text: bool = False) -> object:
    """Return a copy of a JSON value without message text, media captions, names and profiles.

    Structure is kept: texts become empty strings, and inside content numbers become 0, under the same keys. Ids,
    times, statuses, prices and errors stay. Lists and objects below 64 levels become null. With ``keep_text`` only the
    depth is bounded.
    """
    return _copy(update, "", _Keep.ALL if keep_text else _Keep.NAMED, 0)


def _copy(value: object, key: str, keep: _Keep, depth: int) -> object:
    if isinstance(value, dict):
        if depth >= _DEPTH_MAX:
            return None
        return {
            name: _copy(item, _judged_as(name, key), _keep_below(name, keep), depth + 1)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [_copy(item, key, keep, depth + 1) for item in value] if depth < _DEPTH_MAX else None
    if isinstance(value, str):
        return value if keep is _Keep.ALL or (keep is _Keep.NAMED and _is_kept(key)) else ""
    if keep is _Keep.NONE and isinstance(value, int | float) and not isinstance(value, bool):
        return 0
    return value


def _judged_as(name: str, parent: str) -> str:
    return parent if parent in _REPLACED and name in _PREVIOUS_AND_CURRENT else name


def _keep_below(name: str, keep: _Keep) -> _Keep:
    if keep is not _Keep.NAMED:
        return keep
    # What went wrong is the provider's text, not a person's, and it is what a dead letter is opened for.
    if name == "errors":
        return _Keep.ALL
    return _Keep.NONE if name in _CONTENT else keep


def _is_kept(key: str) -> bool:
    return key in _KEPT or key.endswith(_KEPT_ENDINGS)
