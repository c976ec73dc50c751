"""The country of a user, from the phone number or the business-scoped user id (metering.md §1, Country).

Owns that rule and its cache. Does not own markets (price zones), which are dated data. The regions are those of the
libphonenumber metadata installed, so an update of it can place a number elsewhere: events carry the country that was
resolved when they entered.
"""

from __future__ import annotations

from functools import lru_cache

from phonenumbers import (
    COUNTRY_CODE_TO_REGION_CODE,
    REGION_CODE_FOR_NON_GEO_ENTITY,
    NumberParseException,
    parse,
    region_code_for_number,
)

from schemas.events import UNKNOWN_COUNTRY

# Calling codes are prefix-free, so the first of the three lengths that is a code is the code.
_SOLE_REGION: dict[str, str] = {
    str(code): regions[0] for code, regions in COUNTRY_CODE_TO_REGION_CODE.items() if len(regions) == 1
}
_MAIN_OF_SHARED: dict[str, str] = {
    str(code): regions[0] for code, regions in COUNTRY_CODE_TO_REGION_CODE.items() if len(regions) > 1
}


def resolve(phone: str | None, bsuid: str | None) -> str:
    """Return the ISO 3166 alpha-2 country of a user, ``ZZ`` if nothing says.

    Args:
        phone: E.164 digits without ``+``.
        bsuid: business-scoped user id; its prefix is only asked where the phone says nothing.
    """
    if phone:
        region = _region_of(phone)
        if region is not None:
            return region
    return _country_of_bsuid(bsuid) if bsuid else UNKNOWN_COUNTRY


def _region_of(phone: str) -> str | None:
    """Return the region of a number, None for non-geographic and unknown calling codes."""
    for length in (2, 3, 1):
        code = phone[:length]
        region = _SOLE_REGION.get(code)
        if region is not None:
            return None if region == REGION_CODE_FOR_NON_GEO_ENTITY else region
        if code in _MAIN_OF_SHARED:
            return _region_of_shared_code(phone, code)
    return None


@lru_cache(maxsize=1 << 16)
def _region_of_shared_code(phone: str, code: str) -> str:
    """Return the region of a number whose calling code several regions share, such as +1, +7 and +44.

    Cached by whole number: which prefixes decide is the library's knowledge and changes with its data.
    """
    try:
        region = region_code_for_number(parse(f"+{phone}"))
    except NumberParseException:
        region = None
    return region or _MAIN_OF_SHARED[code]


def _country_of_bsuid(bsuid: str) -> str:
    country = bsuid[:2]
    if bsuid[2:3] == "." and country.isascii() and country.isalpha() and country.isupper():
        return country
    return UNKNOWN_COUNTRY
