"""What webhooks show of a person to one account: phone, user id or both, on each update.

Owns the provider's habits with names (which depend on the person's manner, the moment and the kind of update) and
the webhooks that say that a user id was replaced. Does not own who has which phone when (``simulation.casting``).

All of it can be told from the webhooks: whoever appears by phone alone is at some time seen with phone and user id
together, for every phone that the person ever appears by. That is what makes "who really is who" and "who is who by
the webhooks" the same thing, and a truth that counts people comparable with a metering that sees only webhooks.
The exception are people without any user id (manner ``phone``): they are their phones.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from random import Random

import msgspec

from simulation.people import Person
from simulation.world import Account, Contact, Identity, Incoming, Rename, Status, Thread

_SENT_TO_USER_ID_SHARE = 0.1
_RENAME_DELAY_SECONDS_MAX = 60
_SECOND_RENAME_DELAY_SECONDS_MAX = 20_000

_VARIED = frozenset({"revealed", "addressed", "paired"})


class _Looks(msgspec.Struct, frozen=True):
    """The three ways in which a webhook can name a person in one phase."""

    full: Identity
    by_phone: Identity
    by_user_id: Identity


class Guise:
    """One person as one account gets to see it."""

    def __init__(self, rng: Random, person: Person, account: Account) -> None:
        """Take the source of chance; nothing has been shown yet."""
        self._rng = rng
        self._person = person
        self._account = account
        self._since = [phase.since for phase in person.phases[1:]]
        self._looks = [_looks(person.identity(account, phase)) for phase in range(len(person.phases))]
        self.is_varied = person.manner in _VARIED or person.is_heir or len(person.phases) > 1
        self._unseen = set() if person.manner == "phone" else set(range(len(person.phases)))
        """Phases whose phone no webhook has yet shown together with the user id."""
        first = self._looks[0]
        self.usual = {"open": first.full, "phone": first.by_phone, "paired": first.by_phone}.get(
            person.manner, first.by_user_id
        )
        """How the person mostly appears, at first."""

    def contact(self, threads: list[Thread], until: int) -> Contact:
        """Return threads that nobody has appeared in as those of this person; renames come before ``until``."""
        renames = [rename for rename in self.renames() if rename.at < until]
        return self.dressed(Contact(self._account, self.usual, threads, renames, self.is_varied))

    def dressed(self, contact: Contact) -> Contact:
        """Set what each update of the contact shows."""
        told = {rename.phone for rename in contact.renames}
        self._unseen -= {phase for phase, looks in enumerate(self._looks) if looks.full.phone in told}
        for thread in contact.threads:
            for outgoing in thread.outgoing:
                addressed_in = self._phase(outgoing.statuses[0].at)
                for status in outgoing.statuses:
                    status.shown = self._on_status(status, addressed_in)
            for message in thread.incoming:
                message.shown = self._on_incoming(message.at)
        if self._unseen:
            self._introduce([*updates_of(contact.threads)])
        return contact

    def _phase(self, at: int) -> int:
        return bisect_right(self._since, at)

    def _on_status(self, status: Status, addressed_in: int) -> Identity:
        looks, manner = self._looks[self._phase(status.at)], self._person.manner
        if manner in ("phone", "paired"):
            return looks.by_phone
        if status.name != "failed":
            return looks.full if manner == "open" else looks.by_user_id
        if manner in ("hidden", "revealed"):
            return looks.by_user_id
        usual = self._person.setback_at is None and not self.is_varied
        if usual and self._rng.random() < _SENT_TO_USER_ID_SHARE:
            return looks.full
        # What was sent to a phone fails under that phone, whoever has changed it in the meantime.
        return self._looks[addressed_in].by_phone

    def _on_incoming(self, at: int) -> Identity:
        looks, manner = self._looks[self._phase(at)], self._person.manner
        if manner in ("phone", "paired"):
            return looks.by_phone
        begin, end = self._person.revealed
        return looks.full if manner == "open" or begin <= at < end else looks.by_user_id

    def _introduce(self, updates: list[Status | Incoming]) -> None:
        """Let phone and user id be seen together once per phone, wherever else the phone stands alone."""
        shown = {update.shown for update in updates}
        for phase in sorted(self._unseen):
            looks = self._looks[phase]
            own = [update for update in updates if self._phase(update.at) == phase]
            if self._person.is_heir and phase == 0 and own:
                # Until then the phone is the former owner's, as far as anybody can tell.
                min(own, key=lambda update: update.at).shown = looks.full
            elif looks.full not in shown and looks.by_phone in shown and own:
                self._one_of(own).shown = looks.full
            elif looks.full not in shown:
                continue
            self._unseen.discard(phase)

    def _one_of(self, updates: list[Status | Incoming]) -> Status | Incoming:
        """Return any of the updates, a failed one only if there is no other: those mostly omit the user id."""
        usual = [update for update in updates if isinstance(update, Incoming) or update.name != "failed"]
        return self._rng.choice(usual or updates)

    def renames(self) -> Iterator[Rename]:
        """Yield the words that user ids were replaced: one each, or two in different forms."""
        hides = self._person.manner not in ("open", "paired")
        for phase, since in enumerate(self._since, start=1):
            before, after = self._looks[phase - 1], self._looks[phase]
            previous, current = before.full.bsuid, after.full.bsuid
            assert previous is not None
            assert current is not None
            rename = Rename(
                since + int(self._rng.random() * _RENAME_DELAY_SECONDS_MAX),
                previous,
                current,
                None if hides else after.full.phone,
                before.by_user_id if hides else before.full,
                is_late=self._person.is_told_late,
            )
            yield rename
            if self._person.is_told_twice:
                again = rename.at + 1 + int(self._rng.random() * _SECOND_RENAME_DELAY_SECONDS_MAX)
                yield msgspec.structs.replace(rename, at=again, is_message=True)


def updates_of(threads: Iterable[Thread]) -> Iterator[Status | Incoming]:
    """Yield every status and every incoming message."""
    for thread in threads:
        for outgoing in thread.outgoing:
            yield from outgoing.statuses
        yield from thread.incoming


def _looks(identity: Identity) -> _Looks:
    return _Looks(
        identity,
        msgspec.structs.replace(identity, bsuid=None, parent_bsuid=None),
        msgspec.structs.replace(identity, phone=None),
    )
