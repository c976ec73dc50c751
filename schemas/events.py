"""The canonical event (metering.md §1): the one shape in which every provider's traffic is metered.

Owns the field names, the closed vocabularies and the user key. Does not own parsing (``schemas.meta`` and its
siblings) nor wire encoding (``schemas.codec``).
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

from schemas.limits import (
    CONVERSATION_ORIGIN_LENGTH_MAX,
    EARLIEST_SECONDS,
    ERROR_CODE_LIMIT,
    KEY_LENGTH_MAX,
    PHONE_DIGITS_MAX,
    PHONE_DIGITS_MIN,
    TIER_BOUND_LIMIT,
    TIMESTAMP_LIMIT,
)

Provider = Literal["meta", "edna", "netcore", "canonical"]
Kind = Literal["sent", "delivered", "read", "failed", "incoming", "identity", "tier"]
"""``identity`` and ``tier`` are no messages: they say that two user ids are one person (metering.md §7), and that an
account has reached a volume tier (§5)."""
Category = Literal[
    "authentication",
    "authentication_international",
    "marketing",
    "marketing_lite",
    "referral_conversion",
    "service",
    "utility",
]
PricingModel = Literal["CBP", "PMP", "NBP"]
PricingType = Literal["regular", "free_customer_service", "free_entry_point"]

KINDS: tuple[Kind, ...] = get_args(Kind)
CATEGORIES: tuple[Category, ...] = get_args(Category)
PRICING_TYPES: tuple[PricingType, ...] = get_args(PricingType)

# A template category says by itself that the message was a template (metering.md §2).
TEMPLATE_CATEGORIES: frozenset[str] = frozenset(
    {"marketing", "marketing_lite", "utility", "authentication", "authentication_international"}
)

UNKNOWN_COUNTRY = "ZZ"

# Decoding checks these bounds, so that a record of another producer holds no value that no parser would have let in.
Key = Annotated[str, Meta(min_length=1, max_length=KEY_LENGTH_MAX)]
_Phone = Annotated[str, Meta(min_length=PHONE_DIGITS_MIN, max_length=PHONE_DIGITS_MAX)]
_Country = Annotated[str, Meta(min_length=2, max_length=2)]
_Origin = Annotated[str, Meta(max_length=CONVERSATION_ORIGIN_LENGTH_MAX)]
_OccurredAt = Annotated[int, Meta(ge=EARLIEST_SECONDS, lt=TIMESTAMP_LIMIT)]
_ReceivedAt = Annotated[int, Meta(ge=0, lt=TIMESTAMP_LIMIT * 1000)]
_Seconds = Annotated[int, Meta(gt=0, lt=TIMESTAMP_LIMIT)]
_ErrorCode = Annotated[int, Meta(ge=0, lt=ERROR_CODE_LIMIT)]
_TierBound = Annotated[int, Meta(ge=0, lt=TIER_BOUND_LIMIT)]

MONTH_PATTERN = "(19[7-9][0-9]|20[0-9][0-9])-(0[1-9]|1[0-2])"


class VolumeTier(msgspec.Struct, frozen=True):
    """A volume tier of one month, market and category (metering.md §5)."""

    month: Annotated[str, Meta(pattern=f"^{MONTH_PATTERN}$")]
    """Local month of the account, "YYYY-MM"."""
    region: Key
    """The market's name, as the provider writes it."""
    category: Key
    """In our words, such as "utility"."""
    lower: _TierBound
    """First message of the tier."""
    upper: _TierBound
    """Last message of the tier; 0 = it has no end."""


class Event(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One accepted webhook update.

    The bounds of its fields are checked when a record is decoded, not when an event is made.

    ``array_like`` makes the field *order* the storage format: new fields go to the end, with a default, and no
    field is ever removed or moved.
    """

    provider: Provider
    account: Key
    number: Key
    kind: Kind
    message_id: Key
    occurred_at: _OccurredAt
    """UTC seconds, from the payload, never the clock of the receiver."""
    received_at: _ReceivedAt
    """UTC milliseconds, stamped by our receiver."""
    country: _Country
    """ISO 3166 alpha-2, resolved once where the event enters; ``ZZ`` when nothing says."""
    user_phone: _Phone | None = None
    """E.164 digits without ``+``."""
    user_bsuid: Key | None = None
    user_parent_bsuid: Key | None = None
    participant: Key | None = None
    """Recipient of a group status; part of the message key."""
    number_display: Key | None = None
    category: Category | None = None
    template: bool | None = None
    """True = template (HSM), False = chat, None = the provider does not say."""
    pricing_model: PricingModel | None = None
    pricing_type: PricingType | None = None
    billable: bool | None = None
    conversation_id: Key | None = None
    conversation_origin: _Origin | None = None
    conversation_expires_at: _Seconds | None = None
    """UTC seconds."""
    referral: bool = False
    error_code: _ErrorCode | None = None
    user_previous_bsuid: Key | None = None
    """Only of kind ``identity``: the user id that ``user_bsuid`` replaces."""
    volume_tier: VolumeTier | None = None
    """Only of kind ``tier``."""

    @property
    def user_key(self) -> str:
        """Return the BSUID, else the phone (metering.md §1). Empty only of kind ``tier``, which is no user's."""
        return self.user_bsuid or self.user_phone or ""


def says_free_entry_point(event: Event) -> bool:
    """Tell whether the event itself says that it belongs to a free entry point (metering.md §3, rule 1)."""
    return (
        event.pricing_type == "free_entry_point"
        or event.conversation_origin == "referral_conversion"
        or event.category == "referral_conversion"
    )


def canonical_json(event: Event) -> bytes:
    """Return the event as people and other systems see it: a JSON object by field name, unset fields left out."""
    fields = msgspec.structs.asdict(event)
    return msgspec.json.encode({name: value for name, value in fields.items() if value is not None})


class Refusal(msgspec.Struct, frozen=True):
    """One update that cannot be counted: where it stood, why, and the update itself for the dead letter.

    ``reason`` is a short stable word from ``REFUSAL_REASONS`` (it becomes a metric label); ``detail`` says what
    was found and what was expected. ``payload`` is the offending update as JSON bytes, message text removed.
    """

    reason: str
    detail: str
    payload: bytes
    account: str = ""


REFUSAL_REASONS: tuple[str, ...] = (
    "malformed",  # not JSON, or not the shape that the format asks for
    "no_account",
    "no_number",
    "no_message_id",
    "no_time",
    "no_user",
    "unknown_kind",
    "from_the_future",  # occurred_at more than 5 minutes after received_at
    "invalid_field",  # a field that is there has a value outside its vocabulary or range
    "unknown_account",  # only where the settings say to refuse accounts that are not configured
    # The following are decided by the worker, on events that were accepted at the door.
    "late",  # before the account's cut (metering.md §6)
    "expired_status",  # a status of a message whose state was dropped
)
SET_ASIDE: frozenset[str] = frozenset({"late", "expired_status"})
"""Reasons for which nothing is wrong with the event: it came too late for the state that it belongs to."""


class Parsed(msgspec.Struct):
    """What one webhook body, or one line, came to. Every update in it is in exactly one of the three lists."""

    events: list[Event] = msgspec.field(default_factory=list)
    refusals: list[Refusal] = msgspec.field(default_factory=list)
    ignored: list[str] = msgspec.field(default_factory=list)
    """Names of known updates that are not metered, such as ``account_update`` or ``status:deleted``."""

    @property
    def update_count(self) -> int:
        """Return how many updates were seen in all."""
        return len(self.events) + len(self.refusals) + len(self.ignored)
