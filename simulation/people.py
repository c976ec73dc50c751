"""The people of the simulated world: where they live, which phones and user ids they have and when.

Every phone number really resolves to its user's country by libphonenumber. Does not own the country rule of the
product (where a number enters, the product resolves it by itself), who becomes what (``simulation.casting``) nor
what a webhook shows of a person (``simulation.guises``).
"""

from __future__ import annotations

from bisect import bisect
from itertools import accumulate
from random import Random
from typing import Literal

import msgspec
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

Manner = Literal["open", "hidden", "revealed", "addressed", "phone", "paired"]
"""How webhooks name a person:

``open``: by phone and user id, except that a ``failed`` names the phone alone;
``hidden``: by user id alone;
``revealed``: so as well, but for some time incoming messages name the phone too;
``addressed``: by user id alone, but the business writes to the phone, so that a ``failed`` names the phone alone;
``phone``: by phone alone, as before April 2026;
``paired``: by phone alone, too, but at some time phone and user id are seen together.
"""


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


class Phase(msgspec.Struct, frozen=True):
    """A time of life: from ``since`` (UTC seconds) until the next one the person has this phone."""

    since: int
    country: str
    phone: str


class Person(msgspec.Struct, frozen=True):
    """One human, who may be a user of several accounts."""

    index: int
    manner: Manner
    phases: tuple[Phase, ...]
    """Never empty and in order of time; each has user ids of its own."""
    begins_at: int
    ends_at: int
    """Everything about this person happens in [``begins_at``, ``ends_at``)."""
    has_parent: bool = False
    is_heir: bool = False
    """The first phone was somebody else's: the first webhook of all must say whose it is now."""
    revealed: tuple[int, int] = (0, 0)
    """Begin and end of the time in which a ``revealed`` person's phone is shown."""
    is_told_late: bool = False
    is_told_twice: bool = False
    setback_at: int | None = None
    """When a message to this person fails for certain (its status names the phone alone) and the next one arrives."""

    @property
    def name(self) -> str:
        """Return the first name."""
        return _NAMES[self.index % len(_NAMES)]

    def identity(self, account: Account, phase: int) -> Identity:
        """Return all there is to show ``account`` in a phase: user ids are never equal across businesses."""
        country, phone = self.phases[phase].country, self.phases[phase].phone
        if self.manner == "phone":
            return Identity(country, phone, name=self.name)
        digits = f"{phase + 1}{self.index:08d}{account.account_id[-6:]}"
        parent = f"{country}.ENT.2{digits}" if self.has_parent else None
        return Identity(country, phone, f"{country}.1{digits}", parent, self.name)
