"""What every user has, whatever the number of messages: names, the fold's checkpoints, folded activity.

Owns the record and its growth by names. Does not own who of the named is the same person (``metering.identity``).
Field order is the storage format: append only.
"""

from __future__ import annotations

import msgspec

from metering.conversations import Checkpoint
from metering.state import Mention

NOBODY = -1
"""In a profile: the event carried no phone, or no BSUID. In folded activity: no phone is known."""


class FoldedActivity(msgspec.Struct, array_like=True, gc=False):
    """Activity of a month, before the fold, on one number and country: first times, 0 = none."""

    month: int
    number: int
    country: str
    incoming_at: int = 0
    delivered_at: int = 0
    profile: int = 0
    """The profile that decides whose activity it is."""
    phone: int = NOBODY
    """Index of the phone that the item of the activity carried."""


class FoldedPerson(msgspec.Struct, array_like=True, gc=False):
    """The checkpoints of one person, named by a profile, by index of the number."""

    profile: int
    checkpoints: dict[int, Checkpoint]


class Head(msgspec.Struct, array_like=True, gc=False):
    """The part of a user's state that is not items."""

    folded_until: int = 0
    numbers: list[str] = []
    checkpoints: dict[int, Checkpoint] = {}
    """By index of the number; whose they are is told by ``profile``."""
    activity: list[FoldedActivity] = []
    phones: list[str] = []
    bsuids: list[str] = []
    profiles: list[tuple[int, int]] = []
    """Every pair of phone and BSUID (their indexes, or ``NOBODY``) under which an event named the user."""
    updates: list[tuple[int, int]] = []
    """Identity updates: indexes of the previous and the current BSUID."""
    seen: list[Mention] = []
    """When a phone and a BSUID were seen together, by events whose items are not in the state."""
    profile: int = 0
    others: list[FoldedPerson] = []
    """Checkpoints of further persons: a phone may have passed from one to another."""
    last_at: int = 0
    """Newest event of the items dropped so far, and of identity events."""
    gone_month: int = NOBODY
    """Newest month of which activity was dropped."""

    @property
    def key_count(self) -> int:
        """Return how many names the user has."""
        return len(self.phones) + len(self.bsuids)

    def number_index(self, number: str) -> int:
        """Return the index of a business number, adding it when it is new."""
        return index_in(self.numbers, number)

    def profile_index(self, phone: str | None, bsuid: str | None) -> int:
        """Return the index of a profile, adding it and its names when they are new."""
        pair = (
            index_in(self.phones, phone) if phone else NOBODY,
            index_in(self.bsuids, bsuid) if bsuid else NOBODY,
        )
        profiles = self.profiles
        if pair not in profiles:
            profiles.append(pair)
        return profiles.index(pair)

    def names(self, profile: int) -> tuple[str | None, str | None]:
        """Return phone and BSUID of a profile."""
        phone, bsuid = self.profiles[profile]
        return (
            self.phones[phone] if phone != NOBODY else None,
            self.bsuids[bsuid] if bsuid != NOBODY else None,
        )


def index_in(names: list[str], name: str) -> int:
    """Return the index of a name, adding it when it is new. Such lists are short."""
    if name not in names:
        names.append(name)
    return names.index(name)


def name_from_key(head: Head, user_key: str) -> None:
    """Give a head written before profiles were kept the one name that is known of it: the user key.

    Digits alone are taken for a phone. Were they a BSUID, the user would still be found under the same key.
    """
    if not head.profiles:
        if user_key.isascii() and user_key.isdigit():
            head.profile_index(user_key, None)
        else:
            head.profile_index(None, user_key)
