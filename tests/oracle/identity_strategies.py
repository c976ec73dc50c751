"""Generated histories in which identities meet (metering.md §7): few phones and user ids, many ways to name them.

Owns how people are named, renamed and mistaken for each other; what happens to them is that of
``tests.oracle.strategies``. Every history has a theme, because a rule that decides little where all things happen at
once decides much where only two of them do. Does not own any expectation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec
from hypothesis import strategies as st

from schemas.events import Event, Kind
from tests.oracle.strategies import ACCOUNT_ZONES, EVENTS_MAX, HOUR, User, World

PHONES = ("491700000001", "491700000002", "551100000003")
BSUIDS = ("DE.1", "DE.2", "BR.3", "BR.4", "IN.5")


@dataclass(frozen=True, slots=True)
class _Theme:
    """How likely each thing is that makes names ambiguous."""

    people: tuple[int, ...] = (1, 2, 2, 3)
    naming: tuple[tuple[int, int, int], ...] = ((1, 1, 1), (3, 1, 1), (2, 1, 2), (4, 0, 1), (1, 1, 0))
    """Weights of an event that names its user by phone, by BSUID, by both."""
    recycles: float = 0.05
    """Between two messages a phone passes from one person to another."""
    rotates: float = 0.08
    """Between two messages a person gets another BSUID, mostly with an update."""
    updates: float = 0.02
    """An update links any two BSUIDs."""
    strangers: float = 0.02
    """One event of a message names somebody else."""
    other_phones: float = 0.03
    """One event names another phone than the person's."""
    reuse: float = 0.06
    """A message has the id of another one."""
    groups: float = 0.05
    """A message is one of a group and its statuses name the participant by their own phone or BSUID."""
    soon: float = 0.3
    """A moment lies so many ``seconds`` after another one."""
    seconds: tuple[int, ...] = (-1, 0, 0, 0, 1, HOUR)
    sharing: float = 0.1
    """A person begins with the first person's phone."""
    meetings: float = 0.05
    """Between two messages a phone and a BSUID are seen together on something that counts nowhere."""
    two_accounts: float = 0.1


_BY_PHONE = ((1, 0, 0), (3, 1, 0), (4, 1, 1))
_RECYCLED = _Theme(naming=_BY_PHONE, people=(2, 2, 3), sharing=1.0, meetings=0.9, rotates=0.0, updates=0.0)
_THEMES: tuple[_Theme, ...] = (
    _Theme(),
    _Theme(people=(3, 4), two_accounts=1.0, meetings=0.5, updates=0.2),
    _RECYCLED,
    replace(_RECYCLED, two_accounts=0.5, soon=0.0),
    replace(_RECYCLED, recycles=0.4, sharing=0.5),
    replace(_RECYCLED, soon=0.8),
    replace(_RECYCLED, soon=1.0, seconds=(0, 0, 0, 1)),
    _Theme(naming=((1, 2, 1), (1, 3, 0)), rotates=0.35, updates=0.25, recycles=0.0),
    # Chains and circles; then ids that only an update makes one, on one message.
    _Theme(naming=((1, 3, 0), (0, 1, 0), (2, 2, 1)), people=(3, 4), updates=0.6, rotates=0.1),
    _Theme(naming=((0, 1, 0), (1, 6, 0)), people=(2, 3), updates=0.4, strangers=0.4, reuse=0.2),
    # One message by two names, by many linked names, by two phones of a person.
    _Theme(naming=((1, 1, 0), (2, 2, 1)), people=(1, 2), rotates=0.0, recycles=0.0),
    _Theme(strangers=0.5, people=(2, 3), soon=0.9, seconds=(0, 0, 1), reuse=0.15, sharing=0.7, meetings=0.4),
    _Theme(naming=((1, 1, 4),), people=(1, 2), other_phones=0.5, meetings=0.3),
    _Theme(groups=0.8, people=(2, 3), reuse=0.5, naming=((1, 1, 1), (2, 2, 1))),
    _Theme(groups=0.8, people=(2, 3), reuse=0.3, naming=((2, 1, 1), (3, 0, 1)), sharing=1.0, meetings=0.5),
    _Theme(people=(2, 3, 4), sharing=0.7, strangers=0.4, naming=((1, 1, 3), (0, 1, 2))),  # phones of a month
)


class IdentityWorld(World):
    """One history of people whose names change."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        random = self.random
        self.theme = random.choice(_THEMES)
        self.weights = random.choice(self.theme.naming)
        self.accounts = random.sample(sorted(ACCOUNT_ZONES), 2 if self.chance(self.theme.two_accounts) else 1)
        self.times = [self._anchor()]
        self.numbers = ("number-1", "number-2")[: random.choice((1, 1, 2))]
        self.group_messages: set[str] = set()
        self.users = [self._person(place) for place in range(random.choice(self.theme.people))]

    def build(self) -> list[Event]:
        """Return the events, at most ``EVENTS_MAX``, in no particular order."""
        size = self.random.choice((4, 6, 8, 10, 12, 16, EVENTS_MAX))
        while len(self.events) < size:
            self._change()
            if self.chance(self.habits.incoming):
                self._add_incoming()
            else:
                self._add_outgoing()
        return self.events[:EVENTS_MAX]

    def _person(self, place: int) -> User:
        phone = PHONES[place % len(PHONES)]
        if self.chance(self.theme.sharing):
            phone = PHONES[0]
        countries = self.random.choice((("DE",), ("BR",), ("DE", "BR")))
        return User(phone, BSUIDS[place], countries)

    def _change(self) -> None:
        """Let something happen to somebody's names, or nothing."""
        if self.chance(self.theme.recycles):
            self._recycle()
        if self.chance(self.theme.rotates):
            self._rotate()
        if self.chance(self.theme.updates):
            previous, current = self.random.sample(BSUIDS[: len(self.users) + 1], 2)
            self._add_update(previous, current, self.random.choice(PHONES))
        if self.chance(self.theme.meetings):
            self._meet()

    def _recycle(self) -> None:
        """Give somebody a phone that is another's, who keeps it, or takes the first one's."""
        place = self.random.randrange(len(self.users))
        former = self.random.randrange(len(self.users))
        taken = self.users[former].phone if self.chance(0.8) else self.random.choice(PHONES)
        if self.chance(0.4):
            self.users[former] = replace(self.users[former], phone=self.users[place].phone)
        self.users[place] = replace(self.users[place], phone=taken)

    def _rotate(self) -> None:
        """Give somebody another BSUID; the update comes once, twice, the wrong way round too, or never."""
        place = self.random.randrange(len(self.users))
        user = self.users[place]
        current = self.random.choice(BSUIDS)
        if user.bsuid is None or current == user.bsuid:
            return
        self.users[place] = replace(user, bsuid=current)
        for _ in range(self.random.choice((0, 1, 1, 1, 2))):
            ids = (user.bsuid, current) if self.chance(0.85) else (current, user.bsuid)
            self._add_update(*ids, user.phone)

    def _meet(self) -> None:
        """Let a phone and a BSUID be seen together by a message that never arrives, or by an empty update."""
        user = self.random.choice(self.users)
        if user.bsuid is not None and self.chance(0.5):
            self._add_update(f"{user.bsuid}.retired", user.bsuid, user.phone, names_phone=1.0)
            return
        identity = (
            self.random.choice(self.accounts),
            self.random.choice(self.numbers),
            user,
            self._message_id(),
        )
        event = self._event("sent", self._moment(), identity)
        self.events.append(msgspec.structs.replace(event, user_phone=user.phone, user_bsuid=user.bsuid))

    def _add_update(self, previous: str, current: str, phone: str | None, names_phone: float = 0.4) -> None:
        """Add an identity event, at any time, with or without a phone."""
        at = self._moment()
        event = Event(
            provider="meta",
            account=self.random.choice(self.accounts),
            number=self.random.choice(self.numbers),
            kind="identity",
            message_id=f"update.{len(self.events)}",
            occurred_at=at,
            received_at=at * 1_000,
            country="DE",
            user_phone=phone if self.chance(names_phone) else None,
            user_bsuid=current,
            user_previous_bsuid=previous,
        )
        self.events.append(event)

    def _moment(self) -> int:
        if not self.chance(self.theme.soon):
            return super()._moment()
        moment = self.random.choice(self.times) + self.random.choice(self.theme.seconds)
        self.times.append(moment)
        return moment

    def _message_id_of(self, user: User) -> str:  # noqa: ARG002
        """Return an id that now and then another user's message has as well."""
        return self._message_id()

    def _message_id(self) -> str:
        if self.message_count and self.chance(self.theme.reuse):
            return f"wamid.{self.random.randrange(self.message_count)}"
        message_id = super()._message_id()
        if self.chance(self.theme.groups):
            self.group_messages.add(message_id)
        return message_id

    def _event(
        self, kind: Kind, at: int, identity: tuple[str, str, User, str], *, participant: str | None = None
    ) -> Event:
        """Return an event that names its user in one of three ways, or names another."""
        account, number, user, message_id = identity
        if self.chance(self.theme.strangers):
            user = self.random.choice(self.users)
        by_phone, by_bsuid = self.random.choices(
            ((True, False), (False, True), (True, True)), weights=self.weights
        )[0]
        if user.phone is not None and self.chance(self.theme.other_phones):
            user = replace(user, phone=self.random.choice(PHONES))
        if kind == "failed" and self.chance(0.7):
            by_phone, by_bsuid = True, False
        named = replace(user, phone=user.phone if by_phone else None, bsuid=user.bsuid if by_bsuid else None)
        event = super()._event(kind, at, (account, number, named, message_id), participant=participant)
        # A world that has a BSUID leaves the phone out now and then: here that is decided above.
        event = msgspec.structs.replace(event, user_phone=named.phone)
        if kind == "incoming" or message_id not in self.group_messages:
            return event
        own = [name for name in (named.phone, named.bsuid) if name is not None]
        return msgspec.structs.replace(event, participant=self.random.choice(own))


def build_identity_history(seed: int) -> list[Event]:
    """Return the history of a seed: 4 to ``EVENTS_MAX`` events of accounts in ``strategies.ACCOUNT_ZONES``."""
    return IdentityWorld(seed).build()


@st.composite
def identity_histories(draw: st.DrawFn) -> list[Event]:
    """Generate histories as ``strategies.histories`` does: one event in ten or so is left out."""
    history = build_identity_history(draw(st.integers(min_value=0, max_value=2**48)))
    kept = draw(st.lists(st.integers(min_value=0, max_value=9), min_size=len(history), max_size=len(history)))
    return [event for event, keep in zip(history, kept, strict=True) if keep]
