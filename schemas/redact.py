"""Removing what people wrote from an update before it is set aside.

Owns which fields may keep their values. Does not own when that happens (``schemas.meta``, ``schemas.canonical``) nor
the setting that keeps the text.

The list says what is *kept*: a field that a provider invents tomorrow loses its text until someone has looked at it.
Fields that by their name hold an id, a time or a word of a vocabulary are kept, because an update must still mean the
same when it is replayed.
"""

from __future__ import annotations

from schemas.events import Event

_DEPTH_MAX = 64
"""No field that is metered stands deeper; JSON may nest further than Python may recurse."""

_CONTENT = frozenset(
    {
        "audio", "body", "button", "caption", "contacts", "document", "edit", "emoji", "image", "interactive",
        "location", "name", "order", "profile", "reaction", "referral", "revoke", "sticker", "text", "username", "vcard",
        "video",
    }
)  # fmt: skip
"""Everything below these is content: numbers (a location) and ids (a button's, a contact card's) go as well."""

_KEPT = frozenset(Event.__struct_fields__) | {
    "biz_opaque_callback_data",
    "code",
    "country",
    "details",
    "display_phone_number",
    "field",
    "from",
    "href",
    "id",
    "message",
    "messaging_product",
    "object",
    "status",
    "timestamp",
    "title",
    "type",
    "wa_id",
}
_KEPT_ENDINGS = ("_id", "_ids", "_type", "_model", "_at", "_time", "_timestamp", "_category", "_status", "_hash")
_KEPT_ONLY_IN_ERRORS = frozenset({"details", "href", "message", "title"})


def without_text(update: object, *, keep_text: bool = False) -> object:
    """Return a copy of a JSON value without message text, media captions, names and profiles.

    Structure is kept: texts become empty strings and numbers inside content 0, under the same keys. Ids, times,
    statuses and prices stay. Everything below 64 levels becomes null. With ``keep_text`` only the depth is bounded.
    """
    return _copy(update, "", keep_text, 0)


def _copy(value: object, key: str, in_errors: bool, depth: int) -> object:
    if isinstance(value, str):
        return value if _is_kept(key, in_errors) else ""
    if isinstance(value, dict):
        if depth >= _DEPTH_MAX:
            return None
        return {
            name: _blank(item, depth + 1)
            if name in _CONTENT
            else _copy(item, name, in_errors or name == "errors", depth + 1)
            for name, item in value.items()
        }
    if isinstance(value, list):
        if depth >= _DEPTH_MAX:
            return None
        return [_copy(item, key, in_errors, depth + 1) for item in value]
    return value


def _blank(value: object, depth: int) -> object:
    """Return the bare structure of a value; truth values stay."""
    if isinstance(value, str):
        return ""
    if isinstance(value, dict):
        return {name: _blank(item, depth + 1) for name, item in value.items()} if depth < _DEPTH_MAX else None
    if isinstance(value, list):
        return [_blank(item, depth + 1) for item in value] if depth < _DEPTH_MAX else None
    return 0 if isinstance(value, int | float) and not isinstance(value, bool) else value


def _is_kept(key: str, in_errors: bool) -> bool:
    if key in _KEPT_ONLY_IN_ERRORS:
        return in_errors
    return key in _KEPT or key.endswith(_KEPT_ENDINGS)
