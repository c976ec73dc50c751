"""Removal of what people wrote, so that an update can be kept in the dead letter (design.md: nothing is dropped).

Owns which keys hold text. Identifiers, times, types and the provider's error texts stay: they are what an operator
needs to understand and to replay the update.
"""

from __future__ import annotations

from typing import Final

REDACTED_TEXT: Final = ""
DEPTH_MAX: Final = 64
"""Deeper values are cut: no known update has a tenth of it, and JSON writers give up at some depth."""

TEXT_KEYS: Final[frozenset[str]] = frozenset(
    {
        # what was written, shown or attached
        *("text", "body", "caption", "title", "description", "headline", "footer", "emoji", "detail"),
        *("payload", "response_json", "product_items", "welcome_message"),
        *("filename", "link", "url", "source_url", "image_url", "video_url", "thumbnail_url"),
        # who people are, beyond their identifiers
        *("profile", "name", "names", "username", "first_name", "last_name", "formatted_name", "from_name"),
        # where they are
        *("location", "latitude", "longitude", "address"),
        # shared contact cards
        *("phones", "emails", "org", "addresses", "birthday", "urls", "vcard"),
    }
)
"""Keys of which nothing but the structure is kept."""

_KEPT_AS_IT_STANDS: Final = "errors"
"""The provider's own words about what went wrong: ``title`` and ``message`` are no message text there."""


def without_text(update: object) -> object:
    """Return a copy of a JSON value without message text, captions, names, profiles and places.

    Keys and structure stay. Under a key of ``TEXT_KEYS`` strings become empty and other values ``null``.
    Values deeper than ``DEPTH_MAX`` become ``null``.
    """
    return _copied(update, DEPTH_MAX)


def _copied(value: object, depth: int) -> object:
    if isinstance(value, dict | list) and not depth:
        return None
    if isinstance(value, list):
        return [_copied(element, depth - 1) for element in value]
    if isinstance(value, dict):
        return {key: _copied_member(key, member, depth - 1) for key, member in value.items()}
    return value


def _copied_member(key: str, value: object, depth: int) -> object:
    if key in TEXT_KEYS:
        return _emptied(value, depth)
    if key == _KEPT_AS_IT_STANDS:
        return _cut(value, depth)
    return _copied(value, depth)


def _emptied(value: object, depth: int) -> object:
    if isinstance(value, str):
        return REDACTED_TEXT
    if not depth:
        return None
    if isinstance(value, list):
        return [_emptied(element, depth - 1) for element in value]
    if isinstance(value, dict):
        return {key: _emptied(member, depth - 1) for key, member in value.items()}
    return None


def _cut(value: object, depth: int) -> object:
    if isinstance(value, dict | list) and not depth:
        return None
    if isinstance(value, list):
        return [_cut(element, depth - 1) for element in value]
    if isinstance(value, dict):
        return {key: _cut(member, depth - 1) for key, member in value.items()}
    return value
