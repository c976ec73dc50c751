"""The country of a user: the fast lookup must say what the library says."""

from __future__ import annotations

import random

import pytest
from phonenumbers import (
    COUNTRY_CODE_TO_REGION_CODE,
    NumberParseException,
    parse,
    region_code_for_country_code,
    region_code_for_number,
)

from schemas.country import resolve


@pytest.mark.parametrize(
    ("phone", "bsuid", "country"),
    [
        ("5511900000001", None, "BR"),
        ("5511900000001", "KE.1", "BR"),  # the phone goes first
        ("12025550123", None, "US"),
        ("18095551234", None, "DO"),
        ("14165550123", None, "CA"),
        ("79161234567", None, "RU"),
        ("77012345678", None, "KZ"),
        ("447700900123", None, "GB"),  # no region by the library: main region of +44
        ("10005550123", None, "US"),  # no region by the library: main region of +1
        ("4412", None, "GB"),  # too short for the library
        ("870773111632", None, "ZZ"),  # satellite: no region
        ("870773111632", "KE.1", "KE"),
        ("80012345678", "IN.ENT.1", "IN"),
        ("999123456", None, "ZZ"),  # no such calling code
        ("999123456", "BR.1", "BR"),
        ("0012345", None, "ZZ"),
        (None, "KE.20000000000000002", "KE"),
        (None, "ke.1", "ZZ"),
        (None, "KENYA", "ZZ"),
        (None, "\u00c4\u00c4.1", "ZZ"),
        (None, None, "ZZ"),
    ],
)
def test_country_of_a_user(phone: str | None, bsuid: str | None, country: str) -> None:
    """Phone region, main region of the calling code, prefix of the user id, else ZZ."""
    assert resolve(phone, bsuid) == country


def _by_the_library(phone: str) -> str:
    """Return the rule of metering.md §1 written with the library alone, for phones with a known calling code."""
    try:
        number = parse(f"+{phone}")
    except NumberParseException:
        pytest.fail(f"{phone} was meant to be readable")
    region = region_code_for_number(number) or region_code_for_country_code(number.country_code or 0)
    return "ZZ" if region == "001" else region


def test_every_calling_code_gives_what_the_library_gives() -> None:
    """For random numbers of all calling codes and lengths the lookup and the library agree."""
    dice = random.Random(20261122)
    for code in COUNTRY_CODE_TO_REGION_CODE:
        for _ in range(12):
            phone = f"{code}{''.join(dice.choices('0123456789', k=dice.randint(4, 12)))}"
            assert resolve(phone, None) == _by_the_library(phone), phone
