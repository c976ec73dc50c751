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


class Identity(msgspec.Struct, frozen=True):
    """How one person appears towards one account: the same on every event, and always complete."""

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


class Thread(msgspec.Struct):
    """Everything between one user and one business number."""

    number: BusinessNumber
    outgoing: list[Outgoing]
    incoming: list[Incoming]


class Contact(msgspec.Struct):
    """One user of one account, with one thread per business number that the two ever used."""

    account: Account
    identity: Identity
    threads: list[Thread]
