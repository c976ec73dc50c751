"""Thresholds at which the use of a limit is worth a notice, as people write them: "80%", or a count.

Owns their form. Does not own what they come to (``metering.alerts``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Final

DEFAULT_THRESHOLDS: Final = ("80%", "90%", "100%")
THRESHOLDS_MAX: Final = 20
_PERCENT_MAX: Final = 1000
_COUNT_LIMIT: Final = 10**12
_PERCENT = re.compile(r"(\d{1,4}(?:\.\d{1,3})?)\s*%")


def read_thresholds(values: object, *, are_words: bool = False) -> tuple[str, ...]:
    """Return thresholds in one form each, in the order given.

    Args:
        values: what is written in a list: texts and numbers.
        are_words: they come from where everything is a text, so that digits alone are a count. In a list with quotes,
            "80" is more likely a slip for "80%" than 80 users.

    Raises:
        ValueError: says what is expected.
    """
    if not isinstance(values, list | tuple) or len(values) > THRESHOLDS_MAX:
        raise ValueError(f'a list of at most {THRESHOLDS_MAX}, such as ["80%", "100%", 4500]')
    thresholds = tuple(_threshold(value, are_words=are_words) for value in values)
    if len(set(thresholds)) < len(thresholds):
        raise ValueError("each threshold once")
    return thresholds


def shares(thresholds: Iterable[str]) -> tuple[str, ...]:
    """Return those that are a share of the limit: a count says something of active users only."""
    return tuple(threshold for threshold in thresholds if threshold.endswith("%"))


def in_words(thresholds: Iterable[str]) -> str:
    """Return thresholds as people cannot mistake them, such as "80%, 4500 users"; none is "none"."""
    texts = [each if each.endswith("%") else f"{each} users" for each in thresholds]
    return ", ".join(texts) or "none"


def _threshold(value: object, *, are_words: bool = False) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        if 0 < value < _COUNT_LIMIT:
            return str(value)
    elif isinstance(value, str):
        if match := _PERCENT.fullmatch(value.strip()):
            percent = Decimal(match[1])
            if 0 < percent <= _PERCENT_MAX:
                return f"{percent.normalize():f}%"
        elif value.isascii() and value.isdigit():
            if not are_words:
                raise ValueError(f'"{value}%" for a share, or {value} without quotes for a count of users')
            return _threshold(int(value))
    raise ValueError(f'"80%" (above 0, at most {_PERCENT_MAX}%) or a count above 0')
