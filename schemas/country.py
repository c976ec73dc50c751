"""The country of a user: resolved once, where an event enters, and carried with it (metering.md §1).

Owns the rule "phone, else the prefix of the business-scoped user id, else unknown". Does not own markets (price
zones), which are a separate, effective-dated mapping.
"""

from __future__ import annotations

import re
from functools import lru_cache

import phonenumbers

from schemas.events import UNKNOWN_COUNTRY

_REGIONS: dict[str, tuple[str, ...]] = {
    str(code): tuple(regions) for code, regions in phonenumbers.COUNTRY_CODE_TO_REGION_CODE.items()
}
"""Calling code -> its regions, the main one first. No calling code is the beginning of another one."""

_NON_GEOGRAPHIC = "001"
_BSUID_PREFIX = re.compile(r"([A-Z]{2})\.")

# Within a shared calling code, the first 8 digits and the length decide the region: no number plan looks further.
# A trunk zero, which people type though it does not belong there and libphonenumber drops, moves all by one digit.
_DECIDING_DIGITS = 8
_DECIDING_DIGITS_AFTER_TRUNK_ZERO = 9


def resolve(phone: str | None, bsuid: str | None) -> str:
    """Return the ISO 3166 alpha-2 country of a user, ``ZZ`` when nothing says.

    ``phone`` is E.164 digits without ``+``. A number that is in no plan (yet) has the main region of its calling
    code; a non-geographic one (+800, +882, ...) says nothing, so that the prefix of the BSUID decides.
    """
    if phone:
        region = _region_of(phone)
        if region != _NON_GEOGRAPHIC:
            return region
    if bsuid:
        prefix = _BSUID_PREFIX.match(bsuid)
        if prefix:
            return prefix[1]
    return UNKNOWN_COUNTRY


def _region_of(digits: str) -> str:
    for width in (1, 2, 3):
        regions = _REGIONS.get(digits[:width])
        if regions is not None:
            break
    else:
        return _NON_GEOGRAPHIC  # no such calling code: as good as none
    if len(regions) == 1:
        return regions[0]  # what libphonenumber answers as well, without looking at the rest
    trunk_zero = digits[width : width + 1] == "0"
    deciding = digits[: _DECIDING_DIGITS_AFTER_TRUNK_ZERO if trunk_zero else _DECIDING_DIGITS]
    return _region_of_shared_code(deciding, len(digits), regions[0])


@lru_cache(maxsize=1 << 16)
def _region_of_shared_code(deciding: str, length: int, main_region: str) -> str:
    """Return the region of all numbers of this length that begin so.

    Cached by what decides, not by whole numbers: memory follows number plans, not users. Always asked with the
    same padding, so that the answer never depends on which user came first.
    """
    try:
        number = phonenumbers.parse("+" + deciding.ljust(length, "0"), None)
    except phonenumbers.NumberParseException:
        return main_region  # too short or too long for any plan
    return phonenumbers.region_code_for_number(number) or main_region
