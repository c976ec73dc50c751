"""Reading single fields of foreign JSON: what is taken, and how the rest is refused.

Owns the checks of keys, phones and timestamps, so that every event that a parser accepts can be encoded, hashed and
stored. Does not own their limits (``schemas.limits``) nor the shapes of any provider (``schemas.meta``,
``schemas.canonical``).

Absent means: no such field, ``null``, or a string of nothing but white space.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import UnionType
from typing import Final

import orjson

from schemas.events import Parsed
from schemas.limits import (
    EARLIEST_SECONDS,
    ERROR_CODE_LIMIT,
    FUTURE_TOLERANCE_SECONDS,
    KEY_LENGTH_MAX,
    PHONE_DIGITS_MAX,
    PHONE_DIGITS_MIN,
    TIMESTAMP_LIMIT,
)

NOT_NAMED: Final = "identity"
"""Number and message id of an event that names none: all events have both, ``identity`` and ``tier`` need neither."""

BSUID_PATTERN = re.compile(r"[A-Z]{2}\.(?:ENT\.)?[A-Za-z0-9]{1,128}")

# One escape of JSON. Whole pairs and escaped backslashes come first, so that a match is never half of either.
_ESCAPE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD](?P<lone>[89a-fA-F])[0-9a-fA-F]{2}|\\."
)
_TIMESTAMP_DIGITS_MAX = 10
_SHOWN_CHARACTERS = 60
_JSON_TYPES: tuple[tuple[type | UnionType, str], ...] = (
    (str, "a string"),
    (bool, "a truth value"),
    (int | float, "a number"),
    (list, "a list"),
    (dict, "an object"),
)
_BOOLEANS: Mapping[object, bool] = {"true": True, "false": False}


class UnparseableBody(ValueError):
    """The body as a whole is not of its format, so that no update in it can be told apart."""


class Refused(Exception):
    """One update cannot be counted. ``reason`` is one of ``schemas.events.REFUSAL_REASONS``."""

    def __init__(self, reason: str, detail: str) -> None:
        """Take the reason, and what was found and expected, for people."""
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


def load_json(body: bytes) -> object:
    """Return the JSON value of a body; half of a surrogate pair, written as an escape, becomes a NUL character.

    Raises:
        UnparseableBody: not JSON.
    """
    try:
        document: object = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if b"\\u" not in body:
            raise UnparseableBody(f"not JSON: {error}") from error
    else:
        return document
    # A text that was cut in the middle of a character would cost all its siblings their body. NUL stands for what
    # cannot be encoded because a key that holds it is refused, now and again when its payload is replayed. (Python's
    # own reader takes such escapes, but also NaN and numbers of any length, and could not write them again.)
    try:
        document = orjson.loads(_ESCAPE.sub(_encodable_escape, body))
    except orjson.JSONDecodeError as error:
        raise UnparseableBody(f"not JSON: {error}") from error
    return document


def _encodable_escape(escape: re.Match[bytes]) -> bytes:
    return b"\\u0000" if escape["lone"] is not None else escape[0]


def shown(value: object) -> str:
    """Return a short text for a value found; containers are only named, for they can be large and shared."""
    if isinstance(value, str):
        return repr(value[:_SHOWN_CHARACTERS])
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    return kind_of(value)


def kind_of(value: object) -> str:
    """Return the name of a value's JSON type: where a whole update is of the wrong type, it may be a person's text."""
    for types, word in _JSON_TYPES:
        if isinstance(value, types):
            return word
    return "null"


def is_absent(value: object) -> bool:
    """Tell whether a field says nothing."""
    return value is None or (type(value) is str and (not value or value.isspace()))


def key_text(value: object, name: str) -> str | None:
    """Return a string that may become part of a key, or None if it is absent. Whole numbers are taken as text.

    Raises:
        Refused: ``invalid_field`` for another type, a negative number, more than ``KEY_LENGTH_MAX`` characters, a NUL
            or a surrogate.
    """
    if type(value) is str:
        if value.isspace() or not value:
            return None
        if len(value) > KEY_LENGTH_MAX:
            raise Refused("invalid_field", f"{name}: {len(value)} characters, at most {KEY_LENGTH_MAX}")
        # Printable text holds neither NUL nor surrogate; only the rare rest needs the closer look.
        if not value.isprintable():
            check_encodable(value, name)
        return value
    if value is None:
        return None
    if type(value) is int and value >= 0:
        return str(value)
    expected = "a number from 0" if type(value) is int else "a string"
    raise Refused("invalid_field", f"{name}: found {shown(value)}, expected {expected}")


def check_encodable(text: str, name: str) -> None:
    """Raise ``Refused`` (``invalid_field``) if a text holds what stores and encodings do not take."""
    if "\0" in text:
        raise Refused("invalid_field", f"{name}: holds a NUL character or half of a surrogate pair")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Refused("invalid_field", f"{name}: not encodable as UTF-8") from error


def required_key(value: object, name: str, reason: str) -> str:
    """Return a key string; absent is refused with the reason given, the rest as in ``key_text``."""
    text = key_text(value, name)
    if text is None:
        raise Refused(reason, f"{name} is missing")
    return text


def replaced_by(previous: str | None, current: str | None, names: tuple[str, str]) -> tuple[str, str]:
    """Return the previous and the current id of an identity update; ``names`` are those of the two fields.

    Raises:
        Refused: ``no_user`` if one of the two is missing, ``invalid_field`` if they are the same.
    """
    if previous is None or current is None:
        missing = names[0] if previous is None else names[1]
        raise Refused("no_user", f"{missing} is missing: an identity update names two user ids")
    if previous == current:
        raise Refused("invalid_field", f"{names[0]}: found {shown(previous)}, which is {names[1]} as well")
    return previous, current


def phone_text(value: object, name: str) -> str | None:
    """Return the E.164 digits of a phone number without ``+``, or None if it is absent.

    Raises:
        Refused: ``invalid_field`` if anything but 4 to 20 digits remains without spaces around and a leading ``+``.
    """
    text = key_text(value, name)
    if text is None:
        return None
    digits = text.strip().removeprefix("+")
    if PHONE_DIGITS_MIN <= len(digits) <= PHONE_DIGITS_MAX and digits.isdigit() and digits.isascii():
        return digits
    raise Refused("invalid_field", f"{name}: found {shown(value)}, expected 4 to 20 digits")


def phone_or_bsuid(value: object, name: str) -> tuple[str | None, str | None]:
    """Return ``(phone, bsuid)`` of a field that holds either; at most one of the two is there.

    Raises:
        Refused: as in ``phone_text``, unless the value has the form of a BSUID.
    """
    # The third character tells the two apart, which spares phones the pattern.
    if type(value) is str and value[2:3] == "." and BSUID_PATTERN.fullmatch(value):
        return None, value
    return phone_text(value, name), None


def optional_seconds(value: object, name: str) -> int | None:
    """Return a time in UTC seconds, given as a whole number or its digits, or None if it is absent.

    Raises:
        Refused: ``invalid_field`` if it is neither, or not above 0 and below 2**32 (milliseconds are not).
    """
    seconds = 0
    if type(value) is str:
        text = value.strip()
        if not text:
            return None
        if len(text) <= _TIMESTAMP_DIGITS_MAX and text.isdigit() and text.isascii():
            seconds = int(text)
    elif type(value) is int:
        seconds = value
    elif value is None:
        return None
    if 0 < seconds < TIMESTAMP_LIMIT:
        return seconds
    raise Refused("invalid_field", f"{name}: found {shown(value)}, expected UTC seconds")


def occurred_seconds(value: object, name: str, received_at_ms: int) -> int:
    """Return the time of an event in UTC seconds.

    Raises:
        Refused: ``no_time`` if it is absent, ``invalid_field`` as in ``optional_seconds`` or before 2009,
            ``from_the_future`` if it is more than 5 minutes after ``received_at_ms``.
    """
    seconds = optional_seconds(value, name)
    if seconds is None:
        raise Refused("no_time", f"{name} is missing")
    if seconds < EARLIEST_SECONDS:
        raise Refused(
            "invalid_field", f"{name}: found {shown(value)}, expected {EARLIEST_SECONDS} (2009) or later"
        )
    if (seconds - FUTURE_TOLERANCE_SECONDS) * 1000 > received_at_ms:
        raise Refused(
            "from_the_future", f"{name}: {seconds} s is more than 5 minutes after {received_at_ms} ms"
        )
    return seconds


def optional_boolean(value: object) -> bool | None:
    """Return a truth value, also of the words ``true`` and ``false``; None for everything else."""
    if isinstance(value, bool):
        return value
    return _BOOLEANS.get(value) if type(value) is str else None


def optional_error_code(value: object) -> int | None:
    """Return an error code from 0 to 2**31 - 1, also given as its digits; None for everything else."""
    if type(value) is str and len(value) <= _TIMESTAMP_DIGITS_MAX and value.isdigit() and value.isascii():
        value = int(value)
    if type(value) is int and 0 <= value < ERROR_CODE_LIMIT:
        return value
    return None


def check_update_limit(parsed: Parsed, more: int, limit: int) -> None:
    """Raise ``UnparseableBody`` if a body holds more updates than one body may: every one of them costs memory."""
    if parsed.update_count + more > limit:
        raise UnparseableBody(f"more than {limit} updates in one body")
