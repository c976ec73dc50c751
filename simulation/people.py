"""The users of the simulated world: where they live, and how they appear in webhooks.

Every phone number really resolves to its user's country by libphonenumber. Does not own the country rule of the
product (where a number enters, the product resolves it by itself).
"""

from __future__ import annotations

from bisect import bisect
from itertools import accumulate
from random import Random

import phonenumbers

from simulation.world import Account, Identity

USERS_MAX = 2_000_000

# Roughly where businesses write on WhatsApp, with the pitfalls of shared calling codes (+1, +7, +44, +39) in it.
_WEIGHTS: dict[str, int] = {
    "BR": 150, "IN": 150, "ID": 80, "MX": 70, "ZA": 45, "DE": 40, "GB": 40, "US": 40, "NG": 35, "AE": 30,
    "KE": 28, "SA": 26, "CO": 25, "ES": 24, "IT": 24, "TR": 24, "PL": 16, "AR": 16, "EG": 14, "PK": 14,
    "MY": 12, "CL": 10, "PE": 10, "FR": 10, "NL": 10, "RU": 8, "CA": 8, "KZ": 6, "MA": 6, "BD": 6, "SG": 5,
    "HK": 5, "QA": 4, "RO": 4, "HU": 4, "UA": 4, "DO": 4, "JM": 2, "IQ": 3, "KW": 3, "OM": 2, "LK": 3, "NP": 3,
    "TH": 3, "PH": 3, "VN": 3, "JP": 2, "AU": 3, "GH": 3, "TZ": 3, "PT": 3, "AT": 2, "CH": 2, "SE": 2, "CZ": 2,
    "GR": 2, "BO": 2, "JO": 2, "LB": 2, "BH": 1,
}  # fmt: skip
_COUNTRIES = tuple(_WEIGHTS)
_CUMULATIVE = tuple(accumulate(_WEIGHTS.values()))

_NAMES = ("Ada", "Bento", "Chidi", "Devi", "Elif", "Farah", "Gael", "Hana", "Ivo", "Jun", "Kofi", "Lena")

_SUFFIX_DIGITS = 6
_SUFFIX_COUNT = 10**_SUFFIX_DIGITS
# Odd and not a multiple of 5, so that stepping by it visits every suffix once.
_SUFFIX_STEP = 387_421

_BSUID_SHARE_WITH_PHONE = 0.20
_BSUID_SHARE_ALONE = 0.10
_PARENT_SHARE = 0.2


class PhoneBook:
    """Hands out phone numbers of countries, no number twice."""

    def __init__(self, rng: Random) -> None:
        """Start at a place in each country's range that depends on ``rng``."""
        self._prefixes = {country: _mobile_prefix(country) for country in _COUNTRIES}
        self._suffixes = {country: int(rng.random() * _SUFFIX_COUNT) for country in _COUNTRIES}

    def number(self, country: str) -> str:
        """Return the next number (E.164 digits without ``+``) that libphonenumber places in ``country``."""
        prefix, suffix = self._prefixes[country], self._suffixes[country]
        # Some suffixes of some prefixes belong to nobody or to a neighbour; far fewer than this many in a row.
        for _ in range(10_000):
            suffix = (suffix + _SUFFIX_STEP) % _SUFFIX_COUNT
            digits = f"{prefix}{suffix:0{_SUFFIX_DIGITS}d}"
            if phonenumbers.region_code_for_number(phonenumbers.parse(f"+{digits}")) == country:
                self._suffixes[country] = suffix
                return digits
        raise RuntimeError(f"libphonenumber places no number with the prefix {prefix} in {country}")


def _mobile_prefix(country: str) -> str:
    example = phonenumbers.example_number_for_type(country, phonenumbers.PhoneNumberType.MOBILE)
    if example is None:
        raise RuntimeError(f"libphonenumber has no example of a mobile number in {country}")
    return f"{example.country_code}{example.national_number}"[:-_SUFFIX_DIGITS]


def draw_country(rng: Random) -> str:
    """Return the country (ISO 3166 alpha-2) of the next user."""
    return _COUNTRIES[bisect(_CUMULATIVE, rng.random() * _CUMULATIVE[-1])]


class Person:
    """One human, who may be a user of several accounts."""

    def __init__(self, rng: Random, phone_book: PhoneBook, person_index: int, *, usernames: bool) -> None:
        """Draw country, phone and manner of appearing.

        Without ``usernames`` (before April 2026) everybody appears by phone alone.
        """
        self._index = person_index
        self.country = draw_country(rng)
        manner = rng.random() if usernames else 1.0
        self._has_bsuid = manner < _BSUID_SHARE_WITH_PHONE + _BSUID_SHARE_ALONE
        hidden = manner < _BSUID_SHARE_ALONE
        self._phone = None if hidden else phone_book.number(self.country)
        self._has_parent = self._has_bsuid and rng.random() < _PARENT_SHARE
        self._name = _NAMES[person_index % len(_NAMES)]

    def identity(self, account: Account) -> Identity:
        """Return how the person appears to ``account``: BSUIDs are never equal across businesses."""
        if not self._has_bsuid:
            return Identity(self.country, self._phone, name=self._name)
        digits = f"{self._index:08d}{account.account_id[-6:]}"
        return Identity(
            self.country,
            self._phone,
            f"{self.country}.1{digits}",
            f"{self.country}.ENT.2{digits}" if self._has_parent else None,
            self._name,
        )
