"""The canonical event as JSON: from a producer of one's own to events and refusals.

Owns this format: the field names of metering.md §1, one object or a list of them. Stricter than a provider's
webhook, because its producer writes our vocabulary: a value outside it is refused, not read as absent.

An event of kind ``identity`` (metering.md §7) says that two user ids are one person. It needs neither number nor
message id, and fields that describe messages are not read in it. One of kind ``tier`` (§5) has an account, a time and
``volume_tier``, and nothing else is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, TypeVar, get_args

import orjson

from schemas.country import resolve
from schemas.events import (
    CATEGORIES,
    KINDS,
    PRICING_TYPES,
    UNKNOWN_COUNTRY,
    Category,
    Event,
    Kind,
    Parsed,
    PricingModel,
    PricingType,
    Provider,
    Refusal,
    VolumeTier,
)
from schemas.limits import CONVERSATION_ORIGIN_LENGTH_MAX, ERROR_CODE_LIMIT
from schemas.redact import without_text
from schemas.refusing import (
    NOT_NAMED,
    Refused,
    UnparseableBody,
    check_update_limit,
    is_absent,
    key_text,
    kind_of,
    load_json,
    occurred_seconds,
    optional_boolean,
    optional_error_code,
    optional_seconds,
    phone_or_bsuid,
    replaced_by,
    required_key,
    shown,
)
from schemas.volume_tiers import tier_of

__all__ = ["EVENTS_PER_BODY_MAX", "UnparseableBody", "parse"]

EVENTS_PER_BODY_MAX = 1_000

_COUNTRY = re.compile(r"[A-Z]{2}")

_Word = TypeVar("_Word", bound=str)
_PROVIDERS: Mapping[str, Provider] = {word: word for word in get_args(Provider)}
_KINDS: Mapping[str, Kind] = {word: word for word in KINDS}
_CATEGORIES: Mapping[str, Category] = {word: word for word in CATEGORIES} | {
    "authentication-international": "authentication_international"
}
_PRICING_MODELS: Mapping[str, PricingModel] = {word: word for word in get_args(PricingModel)}
_PRICING_TYPES: Mapping[str, PricingType] = {word: word for word in PRICING_TYPES}

_NOTHING: Mapping[str, object] = {}


def parse(body: bytes, received_at_ms: int, *, keep_text: bool = False) -> Parsed:
    """Return what one JSON object, or a JSON list of at most ``EVENTS_PER_BODY_MAX``, holds.

    Args:
        body: the JSON. Unknown fields are fine; ``received_at`` in it is not read.
        received_at_ms: the receiver's clock, UTC milliseconds; stamped on every event.
        keep_text: leave texts of unknown fields in the payloads of refusals.

    Raises:
        UnparseableBody: not JSON, neither an object nor a list, or a longer list. Nothing else is ever raised.
    """
    document = load_json(body)
    if isinstance(document, dict):
        updates: list[object] = [document]
    elif isinstance(document, list):
        updates = document
    else:
        raise UnparseableBody(f"found {kind_of(document)}, expected an event or a list of events")
    parsed = Parsed()
    check_update_limit(parsed, len(updates), EVENTS_PER_BODY_MAX)
    for update in updates:
        try:
            parsed.events.append(_event(update, received_at_ms))
        except Refused as refused:
            # What is no object is replayed as the element of a list that it was.
            alone = update if isinstance(update, dict) else [update]
            payload = orjson.dumps(without_text(alone, keep_text=keep_text))
            parsed.refusals.append(Refusal(refused.reason, refused.detail, payload, _account_of(update)))
    return parsed


def _event(update: object, received_at_ms: int) -> Event:
    if not isinstance(update, dict):
        raise Refused("malformed", f"found {kind_of(update)}, expected an event")
    account = required_key(update.get("account"), "account", "no_account")
    if update.get("kind") == "tier":
        return _tier_event(update, account, received_at_ms)
    number = _message_key(update, "number", "no_number")
    kind = _kind(update.get("kind"))
    message_id = _message_key(update, "message_id", "no_message_id")
    occurred_at = occurred_seconds(update.get("occurred_at"), "occurred_at", received_at_ms)
    phone, bsuid, parent = _user(update)
    words = update if kind != "identity" else _NOTHING
    return Event(
        provider=_word(update, "provider", _PROVIDERS) or "canonical",
        account=account,
        number=number,
        kind=kind,
        message_id=message_id,
        occurred_at=occurred_at,
        received_at=received_at_ms,
        country=_country(update.get("country")) or resolve(phone, bsuid),
        user_phone=phone,
        user_bsuid=bsuid,
        user_parent_bsuid=parent,
        participant=key_text(words.get("participant"), "participant"),
        number_display=key_text(update.get("number_display"), "number_display"),
        category=_word(words, "category", _CATEGORIES),
        template=_boolean(words, "template"),
        pricing_model=_word(words, "pricing_model", _PRICING_MODELS),
        pricing_type=_word(words, "pricing_type", _PRICING_TYPES),
        billable=_boolean(words, "billable"),
        conversation_id=key_text(words.get("conversation_id"), "conversation_id"),
        conversation_origin=_conversation_origin(words.get("conversation_origin")),
        conversation_expires_at=optional_seconds(
            words.get("conversation_expires_at"), "conversation_expires_at"
        ),
        referral=_boolean(words, "referral") or False,
        error_code=_error_code(words.get("error_code")),
        user_previous_bsuid=_previous_bsuid(update, bsuid) if kind == "identity" else None,
    )


def _tier_event(update: Mapping[str, object], account: str, received_at_ms: int) -> Event:
    return Event(
        provider=_word(update, "provider", _PROVIDERS) or "canonical",
        account=account,
        number=NOT_NAMED,
        kind="tier",
        message_id=NOT_NAMED,
        occurred_at=occurred_seconds(update.get("occurred_at"), "occurred_at", received_at_ms),
        received_at=received_at_ms,
        country=UNKNOWN_COUNTRY,
        volume_tier=_volume_tier(update.get("volume_tier")),
    )


def _volume_tier(fields: object) -> VolumeTier:
    if not isinstance(fields, dict):
        raise Refused("invalid_field", f"volume_tier: found {kind_of(fields)}, expected an object")
    bounds = f"{fields.get('lower')}:{fields.get('upper') or 'MAX'}"
    return tier_of({**fields, "tier": bounds}, ("month", "region", "category"))


def _previous_bsuid(update: Mapping[str, object], current: str | None) -> str:
    previous = key_text(update.get("user_previous_bsuid"), "user_previous_bsuid")
    return replaced_by(previous, current, ("user_previous_bsuid", "user_bsuid"))[0]


def _message_key(update: Mapping[str, object], name: str, reason: str) -> str:
    """Return a key that every event of a message must have, and an identity event need not."""
    if update.get("kind") == "identity" and is_absent(update.get(name)):
        return NOT_NAMED
    return required_key(update.get(name), name, reason)


def _kind(word: object) -> Kind:
    kind = _KINDS.get(word) if isinstance(word, str) else None
    if kind is None:
        raise Refused("unknown_kind", f"kind: found {shown(word)}, expected one of {', '.join(KINDS)}")
    return kind


def _user(update: Mapping[str, object]) -> tuple[str | None, str | None, str | None]:
    phone, bsuid_as_phone = phone_or_bsuid(update.get("user_phone"), "user_phone")
    bsuid = key_text(update.get("user_bsuid"), "user_bsuid") or bsuid_as_phone
    if phone is None and bsuid is None:
        raise Refused("no_user", "neither user_phone nor user_bsuid")
    return phone, bsuid, key_text(update.get("user_parent_bsuid"), "user_parent_bsuid")


def _word(update: Mapping[str, object], name: str, vocabulary: Mapping[str, _Word]) -> _Word | None:
    """Return a word of a vocabulary, None if it is absent."""
    value = update.get(name)
    if value is None or value == "":
        return None
    word = vocabulary.get(value) if isinstance(value, str) else None
    if word is None:
        raise Refused(
            "invalid_field", f"{name}: found {shown(value)}, expected one of {', '.join(vocabulary)}"
        )
    return word


def _boolean(update: Mapping[str, object], name: Literal["template", "billable", "referral"]) -> bool | None:
    value = update.get(name)
    truth = optional_boolean(value)
    if truth is None and value is not None and value != "":
        raise Refused("invalid_field", f"{name}: found {shown(value)}, expected true or false")
    return truth


def _country(value: object) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, str) and _COUNTRY.fullmatch(value):
        return value
    raise Refused("invalid_field", f"country: found {shown(value)}, expected two capital letters")


def _conversation_origin(value: object) -> str | None:
    text = key_text(value, "conversation_origin")
    if text is not None and len(text) > CONVERSATION_ORIGIN_LENGTH_MAX:
        raise Refused(
            "invalid_field",
            f"conversation_origin: {len(text)} characters, at most {CONVERSATION_ORIGIN_LENGTH_MAX}",
        )
    return text


def _error_code(value: object) -> int | None:
    code = optional_error_code(value)
    if code is None and value is not None and value != "":
        raise Refused(
            "invalid_field", f"error_code: found {shown(value)}, expected 0 to {ERROR_CODE_LIMIT - 1}"
        )
    return code


def _account_of(update: object) -> str:
    """Return the account that a refused update names, empty if it names none that could be one."""
    try:
        account = key_text(update.get("account"), "account") if isinstance(update, dict) else None
    except Refused:
        return ""
    return account or ""
