"""Generated histories: small worlds that are coherent as a whole and nasty in every detail.

Owns what tests feed to the oracle and to the real core. Does not own any expectation. Every history draws its own
habits first (few categories, no pricing, only short gaps ...), because rules that meet rarely in a uniform mixture
meet often in some of many one-sided ones. A history is built from one
seed by plain ``random``, since drawing every field through Hypothesis would be slower than the code under test; what
Hypothesis draws besides is which events to leave out, so that a counterexample shrinks to the events that matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from random import Random
from zoneinfo import ZoneInfo

import msgspec
from hypothesis import strategies as st

from schemas.events import CATEGORIES, PRICING_TYPES, Category, Event, Kind, PricingModel, PricingType

MINUTE, HOUR, DAY = 60, 3_600, 86_400
EVENTS_MAX = 25

ACCOUNT_ZONES = {
    "waba-berlin": "Europe/Berlin",
    "waba-kolkata": "Asia/Kolkata",
    "waba-lord-howe": "Australia/Lord_Howe",
    "waba-apia": "Pacific/Apia",
    "waba-sao-paulo": "America/Sao_Paulo",
    "waba-utc": "UTC",
}
"""Every generated account with its time zone: near whose midnights its events lie."""

_ANCHOR_DATES = (
    *((2026, 10, 1),) * 3,  # regime switch
    *((2025, 7, 1),) * 3,  # regime switch
    (2026, 1, 1),
    (2026, 3, 1),
    (2026, 3, 29),  # Berlin springs forward
    (2025, 10, 26),  # Berlin falls back
    (2026, 4, 5),  # Lord Howe falls back by half an hour
    (2025, 10, 5),  # Lord Howe springs forward by half an hour
    (2018, 11, 4),  # Sao Paulo: a day without a midnight
    (2011, 12, 31),  # Apia: the day after a day that never was
    (2024, 2, 29),
)
_STEPS = (
    *(0, 0, 0, 1, 2, 5 * MINUTE, HOUR, 6 * HOUR, 20 * HOUR),
    *(DAY - 1, DAY, DAY + 1, 2 * DAY - 1, 2 * DAY),
    *(3 * DAY - 1, 3 * DAY, 3 * DAY + 1, 4 * DAY - 1, 4 * DAY, 4 * DAY + 1),
    *(7 * DAY, 8 * DAY - 1, 8 * DAY, 8 * DAY + 1, 9 * DAY, 20 * DAY),
)
_EDGE_STEPS = (0, 0, 1, HOUR, 20 * HOUR, DAY - 1, DAY, DAY + 1)
_NEAR_STEPS = (0, 0, 0, 0, 1, HOUR, 6 * HOUR, 12 * HOUR)
_SHORT_STEPS = (0, 0, 0, 1, 1, 2, 30, HOUR, DAY - 1, DAY, 2 * DAY)
_SOON_STEPS = (1, HOUR, HOUR, DAY)
_LATE_STEPS = (0, 8 * DAY, 8 * DAY, 8 * DAY + 1)
_EXPIRY_STEPS = (-DAY, 0, 1, HOUR, DAY, 2 * DAY, 3 * DAY, 7 * DAY, 8 * DAY, 8 * DAY + 1, 30 * DAY)
_STATUS_SETS: tuple[tuple[Kind, ...], ...] = (
    ("sent", "delivered"),
    ("sent", "delivered", "read"),
    ("delivered",),
    ("read",),
    ("sent", "read"),
    ("sent",),
    ("failed",),
    ("sent", "failed"),
    ("failed", "delivered"),
    ("sent", "failed", "read"),
    ("failed", "failed"),
    ("delivered", "delivered"),
)
_COUNTRIES = ("BR", "DE", "IN", "ZZ")
_PRICING_MODELS: tuple[PricingModel, ...] = ("CBP", "PMP", "NBP")
_ERROR_CODES = (131_026, 131_049, 470, 0)


def time_zone_of(account: str) -> str:
    """Return the IANA zone of a generated account, UTC for any other."""
    return ACCOUNT_ZONES.get(account, "UTC")


@dataclass(frozen=True, slots=True)
class User:
    """A person as webhooks name them: the BSUID, if there is one, on every event, so that the key never changes."""

    phone: str | None
    bsuid: str | None
    countries: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Words:
    """What the provider tends to say about one outgoing message; single events may differ or stay silent."""

    category: Category | None
    template: bool | None
    pricing_type: PricingType | None
    billable: bool | None
    free_entry_point: bool


class Habits:
    """What is likely in one history: which words are in use at all, and how often each is said."""

    def __init__(self, random: Random) -> None:
        choice = random.choice
        self.lonely = random.random() < 0.6  # one account, number and user: everything meets everything
        self.steps: tuple[int, ...] = choice((_STEPS, _STEPS, _EDGE_STEPS, _NEAR_STEPS))
        self.expiry_steps: tuple[int, ...] = choice((_EXPIRY_STEPS, _SOON_STEPS))
        self.status_sets = choice((_STATUS_SETS, _STATUS_SETS, _STATUS_SETS[:4], (("delivered",),)))
        categories = (*CATEGORIES, "utility", "service", None, None)
        self.categories: list[Category | None] = random.sample(categories, choice((1, 2, 3, len(categories))))
        pricing_types: list[PricingType | None] = [*PRICING_TYPES, None]
        if random.random() < 0.7:
            pricing_types.remove("free_entry_point")
        if random.random() < 0.7 and len(self.categories) < len(categories):
            self.categories = [each for each in self.categories if each != "referral_conversion"] or [None]
        self.pricing_types = pricing_types
        self.incoming = choice((0.1, 0.3, 0.5))
        self.referral = choice((0.0, 0.1, 0.5, 1.0))
        self.free_entry_point = choice((0.0, 0.0, 0.2, 0.6))
        self.pricing = choice((0.0, 0.3, 0.7))
        self.category = choice((0.4, 0.8, 1.0))
        self.template = choice((0.0, 0.3, 0.7))
        self.contradiction = choice((0.0, 0.2, 0.5))
        self.late_copy = choice((0.05, 0.4))
        self.status_steps: tuple[int, ...] = _SHORT_STEPS
        self._take_theme(choice(("", "", "", "", "exemption", "ties", "late", "entry points")))

    def _take_theme(self, theme: str) -> None:
        """Make one rare meeting likely, such as conversations opened at the same second."""
        if theme in ("exemption", "ties"):
            self.free_entry_point = self.referral = 0.0
            self.category = 1.0
        if theme == "exemption":
            self.categories, self.pricing, self.incoming = ["utility"], 0.0, 0.5
            self.status_sets = (("sent", "delivered"),)
        if theme == "late":
            self.status_sets, self.status_steps = (
                (("delivered", "read"), ("sent", "read", "read")),
                _LATE_STEPS,
            )
            self.late_copy, self.contradiction = 0.6, 0.5
        if theme == "entry points":
            self.free_entry_point, self.referral, self.incoming = 0.6, 0.7, 0.2
            self.expiry_steps, self.steps = (0, HOUR, HOUR, 8 * DAY, 8 * DAY + 1), (*_EDGE_STEPS, 8 * DAY)
        if theme == "ties":
            self.categories, self.pricing, self.incoming = ["marketing", "utility", "service"], 0.7, 0.0
            self.pricing_types, self.steps = ["free_customer_service", "regular", None], _NEAR_STEPS


class World:
    """One history in the making. Everything is drawn from one seeded generator: same seed, same events."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.habits = Habits(self.random)
        lonely = self.habits.lonely
        self.accounts = self.random.sample(sorted(ACCOUNT_ZONES), 1 if lonely else self.random.choice((1, 2)))
        self.numbers = ("number-1", "number-2")[: 1 if lonely else self.random.choice((1, 2))]
        self.users = [self._user(index) for index in range(1 if lonely else self.random.choice((1, 2, 3)))]
        self.times = [self._anchor()]
        self.events: list[Event] = []
        self.message_count = 0

    def build(self) -> list[Event]:
        """Return the events, at most ``EVENTS_MAX``, in no particular order."""
        size = self.random.choice((2, 4, 6, 8, 10, 12, 16, EVENTS_MAX))
        while len(self.events) < size:
            if self.chance(self.habits.incoming):
                self._add_incoming()
            else:
                self._add_outgoing()
        return self.events[:EVENTS_MAX]

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return self.random.random() < probability

    def _user(self, index: int) -> User:
        phone = f"49170000000{index}"
        bsuid = f"DE.{index}0000"
        countries = tuple(self.random.sample(_COUNTRIES, self.random.choice((1, 1, 2))))
        identity = self.random.randrange(3)
        return User(phone if identity != 1 else None, bsuid if identity != 0 else None, countries)

    def _anchor(self) -> int:
        """Return a second around which the history lies: a local midnight that matters, or some second."""
        if self.chance(0.1):
            return self.random.randrange(1_700_000_000, 1_800_000_000)
        zone = ZoneInfo(ACCOUNT_ZONES[self.random.choice(self.accounts)])
        midnight = datetime(*self.random.choice(_ANCHOR_DATES), tzinfo=zone)
        return int(midnight.timestamp()) - self.random.choice((0, 0, 1, HOUR, DAY, 3 * DAY))

    def _moment(self) -> int:
        """Return a second at an edge of some earlier second of this history, and remember it."""
        step = self.random.choice(self.habits.steps) + self.random.choice((0, 0, 0, 0, -1, 1))
        if self.chance(0.25):
            step = -step
        moment = (self.times[0] if self.chance(0.25) else self.random.choice(self.times)) + step
        self.times.append(moment)
        return moment

    def _status_moment(self, first: int) -> int:
        """Return when a further status of a message came: mostly soon, sometimes weeks later, or before."""
        if self.chance(0.15):
            return self._moment()
        moment = first + self.random.choice(self.habits.status_steps if self.chance(0.85) else _STEPS)
        self.times.append(moment)
        return moment

    def _message_id(self) -> str:
        """Return a new id, or now and then one that is in use: by another number, user or direction."""
        if self.message_count and self.chance(0.06):
            return f"wamid.{self.random.randrange(self.message_count)}"
        self.message_count += 1
        return f"wamid.{self.message_count - 1}"

    def _words(self) -> Words:
        return Words(
            category=self.random.choice(self.habits.categories),
            template=self.random.choice((True, False, None)),
            pricing_type=self.random.choice(self.habits.pricing_types),
            billable=self.random.choice((True, False, None, None)),
            free_entry_point=self.chance(self.habits.free_entry_point),
        )

    def _event(
        self, kind: Kind, at: int, identity: tuple[str, str, User, str], *, participant: str | None = None
    ) -> Event:
        """Return an event without any of the provider's words; ``identity``: account, number, user, message."""
        account, number, user, message_id = identity
        shows_phone = user.bsuid is None or self.chance(0.7)
        return Event(
            provider="meta",
            account=account,
            number=number,
            kind=kind,
            message_id=message_id,
            occurred_at=at,
            received_at=at * 1_000 + self.random.choice((0, 250, 999, 5_000)),
            country=user.countries[0] if self.chance(0.7) else self.random.choice(user.countries),
            user_phone=user.phone if shows_phone else None,
            user_bsuid=user.bsuid,
            user_parent_bsuid=f"{user.bsuid}.ENT" if user.bsuid and self.chance(0.1) else None,
            participant=participant,
            number_display="15550001111" if self.chance(0.2) else None,
        )

    def _identity(self) -> tuple[str, str, User, str]:
        account, number = self.random.choice(self.accounts), self.random.choice(self.numbers)
        user = self.random.choice(self.users)
        return (account, number, user, self._message_id_of(user))

    def _message_id_of(self, user: User) -> str:
        """Return a message id of the user's own: one that two users have could link them (metering.md §7)."""
        return f"{self._message_id()}.{user.bsuid or user.phone}"

    def _add_incoming(self) -> None:
        """Add an incoming message, some from an ad, some told of twice with different words."""
        identity = self._identity()
        at = self._moment()
        from_ad = self.chance(self.habits.referral)
        for copy in range(2 if self.chance(self.habits.late_copy) else 1):
            second = at if copy == 0 else at + self.random.choice((0, 1, HOUR, 8 * DAY, 8 * DAY + 1))
            event = self._event("incoming", second, identity)
            said = from_ad and (copy == 1 or self.chance(0.7))
            self.events.append(msgspec.structs.replace(event, referral=said))

    def _add_outgoing(self) -> None:
        """Add an outgoing message with any set of statuses; every event says some of the words, or others."""
        identity = self._identity()
        participant = self.random.choice(("4917011", "4917012")) if self.chance(0.08) else None
        usual = self._words()
        first = self._moment()
        kinds = self.random.choice(self.habits.status_sets)
        for place, kind in enumerate(kinds):
            at = first if place == 0 else self._status_moment(first)
            event = self._event(kind, at, identity, participant=participant)
            self.events.append(
                self._with_words(event, self._words() if self.chance(self.habits.contradiction) else usual)
            )

    def _with_words(self, event: Event, words: Words) -> Event:
        """Return the event with a random part of the words."""
        says_entry_point = words.free_entry_point and self.chance(0.7)
        origin = "referral_conversion" if says_entry_point else self.random.choice((None, None, "utility"))
        says_expiry = self.chance(0.5 if says_entry_point else 0.1)
        return msgspec.structs.replace(
            event,
            category=words.category if self.chance(self.habits.category) else None,
            template=words.template if self.chance(self.habits.template) else None,
            pricing_model=self.random.choice((None, *_PRICING_MODELS)),
            pricing_type=words.pricing_type if self.chance(self.habits.pricing) else None,
            billable=words.billable if self.chance(self.habits.pricing) else None,
            conversation_id="conversation-1" if self.chance(0.1) else None,
            conversation_origin=origin,
            conversation_expires_at=self._expiry(event.occurred_at) if says_expiry else None,
            referral=self.chance(0.02),
            error_code=self._error_code() if event.kind == "failed" or self.chance(0.05) else None,
        )

    def _expiry(self, at: int) -> int:
        return at + self.random.choice(self.habits.expiry_steps)

    def _error_code(self) -> int | None:
        return self.random.choice((*_ERROR_CODES, None))


def build_history(seed: int) -> list[Event]:
    """Return the history of a seed: 2 to ``EVENTS_MAX`` events of accounts in ``ACCOUNT_ZONES``."""
    return World(seed).build()


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """Generate histories: possibly empty lists of at most ``EVENTS_MAX`` events, in no particular order.

    One event in ten or so is left out. Zero means out, so shrinking leaves out as much as it can.
    """
    history = build_history(draw(st.integers(min_value=0, max_value=2**48)))
    kept = draw(st.lists(st.integers(min_value=0, max_value=9), min_size=len(history), max_size=len(history)))
    return [event for event, keep in zip(history, kept, strict=True) if keep]


def shuffled_and_duplicated(history: list[Event], seed: int) -> list[Event]:
    """Return the same set of events in another order, some more than once and received again up to 7 days later."""
    random = Random(seed)
    copies = [event for event in history if random.random() < 0.5]
    repeated = [
        msgspec.structs.replace(
            event, received_at=event.received_at + random.choice((0, 0, 1, 7 * DAY * 1_000))
        )
        for event in copies
    ]
    result = history + repeated
    random.shuffle(result)
    return result
