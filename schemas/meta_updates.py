"""One element of Meta's ``statuses[]`` or ``messages[]``: from its JSON object to the canonical event.

Owns which fields are read, under all their spellings, and who the user is. Does not own the envelope or what is
ignored (``schemas.meta``), nor which contact belongs to an update (``schemas.meta_contacts``).

Fields that only describe (category, price, conversation) never refuse an update: what is not in the vocabulary is
read as not said. Fields that become part of a key or a time do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from schemas.country import resolve
from schemas.events import CATEGORIES, PRICING_TYPES, Category, Event, Kind, PricingModel, PricingType
from schemas.limits import CONVERSATION_ORIGIN_LENGTH_MAX, KEY_LENGTH_MAX
from schemas.meta_contacts import PARTICIPANT, RECIPIENT, SENDER, Contacts, UserFields, is_group
from schemas.refusing import (
    Refused,
    check_encodable,
    key_text,
    occurred_seconds,
    optional_boolean,
    optional_error_code,
    optional_seconds,
    phone_or_bsuid,
    required_key,
    shown,
)

_KINDS: Mapping[str, Kind] = {
    "sent": "sent",
    "delivered": "delivered",
    "read": "read",
    "played": "read",
    "failed": "failed",
}
# Meta writes the same word with a hyphen under `pricing` and with an underscore under `conversation`, and puts
# `group_` before it where the message went to a group.
_CATEGORIES: Mapping[str, Category] = {
    prefix + spelling: category
    for category in CATEGORIES
    for spelling in (category, category.replace("_", "-"))
    for prefix in ("", "group_")
}
_PRICING_MODELS: Mapping[str, PricingModel] = {model: model for model in get_args(PricingModel)}
_PRICING_TYPES: Mapping[str, PricingType] = {word: word for word in PRICING_TYPES}

_NOTHING: Mapping[str, object] = {}

User = tuple[str | None, str | None, str | None]
"""Phone, BSUID, parent BSUID."""


@dataclass(slots=True)
class Origin:
    """Where updates come from: account and business number, or why they cannot be told."""

    received_at_ms: int
    account: str | None = None
    number: str | None = None
    number_display: str | None = None
    fault: tuple[str, str] | None = None
    """Reason and detail of the refusal that every update from here meets."""

    @classmethod
    def of(cls, entry_id: object, metadata: object, received_at_ms: int) -> Origin:
        """Return the origin of one change: ``entry[].id`` and ``value.metadata``."""
        origin = cls(received_at_ms)
        fields = metadata if isinstance(metadata, dict) else _NOTHING
        try:
            origin.account = required_key(entry_id, "entry[].id", "no_account")
            origin.number = required_key(fields.get("phone_number_id"), "phone_number_id", "no_number")
            origin.number_display = _description(fields.get("display_phone_number"), "display_phone_number")
        except Refused as refused:
            origin.fault = (refused.reason, refused.detail)
        return origin

    def identified(self, number_if_absent: str | None = None) -> tuple[str, str]:
        """Return account and number, or what is given in place of a number that is missing.

        Raises:
            Refused: one of the two is missing or unusable.
        """
        is_only_absent = self.fault is not None and self.fault[0] == "no_number"
        if self.account is not None and number_if_absent is not None and is_only_absent:
            return self.account, number_if_absent
        if self.fault is not None or self.account is None or self.number is None:
            raise Refused(*(self.fault or ("no_account", "account and number are missing")))
        return self.account, self.number


def status_event(status: Mapping[str, object], origin: Origin, contacts: Contacts) -> Event:
    """Return the event of one element of ``statuses[]``.

    Raises:
        Refused: it cannot be counted.
    """
    account, number = origin.identified()
    word = status.get("status")
    kind = _KINDS.get(word) if isinstance(word, str) else None
    if kind is None:
        raise Refused("unknown_kind", f"status: found {shown(word)}")
    message_id = required_key(status.get("id"), "id", "no_message_id")
    occurred_at = occurred_seconds(status.get("timestamp"), "timestamp", origin.received_at_ms)
    participant, (phone, bsuid, parent) = _recipient(status, contacts)
    pricing, conversation = object_in(status, "pricing"), object_in(status, "conversation")
    conversation_origin = _description(
        object_in(conversation, "origin").get("type"),
        "conversation.origin.type",
        CONVERSATION_ORIGIN_LENGTH_MAX,
    )
    model, price_type = pricing.get("pricing_model"), pricing.get("type")
    return Event(
        provider="meta",
        account=account,
        number=number,
        kind=kind,
        message_id=message_id,
        occurred_at=occurred_at,
        received_at=origin.received_at_ms,
        country=resolve(phone, bsuid),
        user_phone=phone,
        user_bsuid=bsuid,
        user_parent_bsuid=parent,
        participant=participant,
        number_display=origin.number_display,
        category=_category(pricing.get("category"), conversation_origin),
        pricing_model=_PRICING_MODELS.get(model) if isinstance(model, str) else None,
        pricing_type=_PRICING_TYPES.get(price_type) if isinstance(price_type, str) else None,
        billable=optional_boolean(pricing.get("billable")),
        conversation_id=_description(conversation.get("id"), "conversation.id"),
        conversation_origin=conversation_origin,
        conversation_expires_at=_expiry(conversation.get("expiration_timestamp")),
        error_code=_error_code(status.get("errors")) if kind == "failed" else None,
    )


def incoming_event(message: Mapping[str, object], origin: Origin, contacts: Contacts) -> Event:
    """Return the event of one element of ``messages[]``.

    Raises:
        Refused: it cannot be counted.
    """
    account, number = origin.identified()
    message_id = required_key(message.get("id"), "id", "no_message_id")
    occurred_at = occurred_seconds(message.get("timestamp"), "timestamp", origin.received_at_ms)
    phone, bsuid, parent = _identified(_completed(_user(message, SENDER), contacts.of(message)), SENDER)
    return Event(
        provider="meta",
        account=account,
        number=number,
        kind="incoming",
        message_id=message_id,
        occurred_at=occurred_at,
        received_at=origin.received_at_ms,
        country=resolve(phone, bsuid),
        user_phone=phone,
        user_bsuid=bsuid,
        user_parent_bsuid=parent,
        number_display=origin.number_display,
        referral=bool(object_in(message, "referral")),
    )


def _recipient(status: Mapping[str, object], contacts: Contacts) -> tuple[str | None, User]:
    """Return the participant (only of a group status) and the user that a status is about."""
    if not is_group(status):
        return None, _identified(_completed(_user(status, RECIPIENT), contacts.of(status)), RECIPIENT)
    # Here recipient_id names the group, and contacts do not say which participant is meant.
    phone, bsuid, parent = _user(status, PARTICIPANT)
    if phone is None and bsuid is None:
        raise Refused(
            "no_user", f"{PARTICIPANT.phone}: a status of the whole group, which names no participant"
        )
    return _participant(status, phone, bsuid), (phone, bsuid, parent)


def _participant(status: Mapping[str, object], phone: str | None, bsuid: str | None) -> str | None:
    """Return the participant's key: the id the status names, in the one spelling that all its statuses share."""
    named = key_text(status.get("recipient_participant_id"), "recipient_participant_id")
    return phone or named or bsuid


def _user(update: Mapping[str, object], fields: UserFields) -> User:
    phone, bsuid_as_phone = phone_or_bsuid(update.get(fields.phone), fields.phone)
    bsuid = key_text(update.get(fields.bsuid), fields.bsuid) or bsuid_as_phone
    return phone, bsuid, _first_key(update, fields.parents)


def _first_key(update: Mapping[str, object], names: tuple[str, ...]) -> str | None:
    for name in names:
        text = key_text(update.get(name), name)
        if text is not None:
            return text
    return None


def _completed(user: User, contact: Mapping[str, object] | None) -> User:
    """Return the user with what is missing taken from a contact, unless that contact is someone else.

    A contact serves all updates of its change, so an unusable value in it is read as absent and refuses none.
    """
    phone, bsuid, parent = user
    if contact is None or (phone is not None and bsuid is not None and parent is not None):
        return user
    contact_bsuid = _usable_key(contact.get("user_id"))
    if bsuid is not None and contact_bsuid is not None and bsuid != contact_bsuid:
        return user
    if phone is None:
        try:
            phone, contact_bsuid_as_phone = phone_or_bsuid(contact.get("wa_id"), "wa_id")
        except Refused:
            contact_bsuid_as_phone = None
        contact_bsuid = contact_bsuid or contact_bsuid_as_phone
    return phone, bsuid or contact_bsuid, parent or _usable_key(contact.get("parent_user_id"))


def _usable_key(value: object) -> str | None:
    try:
        return key_text(value, "contacts[]")
    except Refused:
        return None


def _identified(user: User, fields: UserFields) -> User:
    if user[0] is None and user[1] is None:
        raise Refused("no_user", f"{fields.phone}: neither a phone nor a user id")
    return user


def object_in(fields: Mapping[str, object], name: str) -> Mapping[str, object]:
    """Return the object that a field holds; one without fields if it holds none."""
    value = fields.get(name)
    return value if isinstance(value, dict) else _NOTHING


def _description(value: object, name: str, length_max: int = KEY_LENGTH_MAX) -> str | None:
    """Return a text that only describes; None for another type, a negative number or a longer text.

    Raises:
        Refused: ``invalid_field`` if it cannot be encoded.
    """
    if type(value) is int:
        return str(value) if value >= 0 else None
    if type(value) is not str or not value or len(value) > length_max:
        return None
    if not value.isprintable():
        check_encodable(value, name)
    return value


def _category(said: object, conversation_origin: str | None) -> Category | None:
    """Return the category of the price, or where the price has none, that of the conversation's origin."""
    if said is None or said == "":
        said = conversation_origin
    return _CATEGORIES.get(said) if isinstance(said, str) else None


def _expiry(value: object) -> int | None:
    if value is None:
        return None
    try:
        return optional_seconds(value, "conversation.expiration_timestamp")
    except Refused:
        return None


def _error_code(errors: object) -> int | None:
    first = errors[0] if isinstance(errors, list) and errors else None
    return optional_error_code(first.get("code")) if isinstance(first, dict) else None
