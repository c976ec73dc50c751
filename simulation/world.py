"""The ideal world: what really happened, each thing once and in order.

Owns the shapes that the story tellers fill, the renderer writes as webhooks and the truth counts. Does not own how
the world comes about (``simulation.story``), what the provider says about prices (``simulation.provider``) nor what
the network makes of it (``simulation.arrivals``).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from schemas.events import Category, PricingModel, PricingType

StatusName = Literal["sent", "delivered", "read", "played", "failed"]

HOUR_SECONDS = 3_600
DAY_SECONDS = 86_400


class BusinessNumber(msgspec.Struct, frozen=True):
    """One phone number of a business."""

    number_id: str
    display: str


class Account(msgspec.Struct, frozen=True):
    """One WhatsApp Business account with its numbers."""

    account_id: str
    numbers: tuple[BusinessNumber, ...]
    conversation_always: bool
    """True = the older webhook version (v23), where every message carries a conversation object."""


class Identity(msgspec.Struct, frozen=True, cache_hash=True):
    """How one person appears to one account on a webhook; what is ``None`` is not shown there."""

    country: str
    phone: str | None = None
    """E.164 digits without ``+``."""
    bsuid: str | None = None
    parent_bsuid: str | None = None
    name: str = "Guest"


class Said(msgspec.Struct, frozen=True, gc=False):
    """What the provider says about the price of a message on one status; ``None`` = it does not say."""

    category: Category | None = None
    pricing_model: PricingModel | None = None
    pricing_type: PricingType | None = None
    billable: bool | None = None
    conversation_id: str | None = None
    origin: str | None = None
    expires_at: int | None = None
    """UTC seconds at which the provider says that the conversation ends."""

    @property
    def free_entry_point(self) -> bool:
        """Tell whether this says that the message belongs to a free entry point."""
        return (
            self.pricing_type == "free_entry_point"
            or self.origin == "referral_conversion"
            or self.category == "referral_conversion"
        )


class Status(msgspec.Struct, gc=False):
    """One step of an outgoing message, at UTC seconds."""

    name: StatusName
    at: int
    said: Said | None = None
    error_code: int = 0
    shown: Identity | None = None
    """How the webhook names the user; ``None`` = as the contact usually appears."""


class Outgoing(msgspec.Struct):
    """One message from the business to the user."""

    message_id: str
    statuses: list[Status]


class Incoming(msgspec.Struct):
    """One message from the user to the business; ``referral`` = it came from a click-to-WhatsApp ad."""

    message_id: str
    at: int
    type_name: str = "text"
    referral: bool = False
    shown: Identity | None = None
    """How the webhook names the user; ``None`` = as the contact usually appears."""


class Thread(msgspec.Struct):
    """Everything between one user and one business number."""

    number: BusinessNumber
    outgoing: list[Outgoing]
    incoming: list[Incoming]


class Rename(msgspec.Struct, frozen=True):
    """The provider's word that one user id has replaced another, at UTC seconds."""

    at: int
    previous: str
    current: str
    phone: str | None
    """The user's phone from then on, where it may be shown."""
    before: Identity
    """How the person appeared until then."""
    is_message: bool = False
    """Said by a message of type ``system``, as since August 2026; else by a change of field ``user_id_update``."""
    is_late: bool = False
    """The webhook arrives hours or days later."""


class Contact(msgspec.Struct):
    """One person and one account, with one thread per business number that the two ever used."""

    account: Account
    identity: Identity
    """How the person usually appears."""
    threads: list[Thread]
    renames: list[Rename] = msgspec.field(default_factory=list)
    is_varied: bool = False
    """True = appears in so many ways that updates must not share a change: its contacts would complete others."""
