"""Meta's Cloud API webhooks: from one POST body to events, refusals and ignored names.

Owns the envelope (``entry[].changes[]``), what is ignored by name, and how a refused update is wrapped so that it can
be replayed. Does not own single updates (``schemas.meta_updates``), signatures or durability (gateway).

What counts as one update, exactly once each: an element of ``statuses[]`` or ``messages[]`` of a ``messages`` change,
or of ``user_id_update[]`` of a change of that name; such a change without any; a change of another field, which may be
the report of a volume tier; and whatever stands where an entry, a change or one of the lists should.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from schemas.events import Event, Parsed, Refusal
from schemas.limits import KEY_LENGTH_MAX
from schemas.meta_contacts import Contacts, ListName
from schemas.meta_identities import names_two_ids, system_event, update_event
from schemas.meta_tiers import is_tier_update, tier_event
from schemas.meta_updates import Origin, incoming_event, status_event
from schemas.redact import without_text
from schemas.refusing import (
    Refused,
    UnparseableBody,
    check_update_limit,
    kind_of,
    load_json,
)

__all__ = ["IGNORED_FIELDS", "UPDATES_PER_BODY_MAX", "UnparseableBody", "parse"]

UPDATES_PER_BODY_MAX = 100_000
"""Meta sends up to 1,000; the parser only keeps a hostile body from turning into gigabytes of refusals."""

IGNORED_FIELDS: frozenset[str] = frozenset(
    {
        "account_alerts", "account_review_update", "account_settings_update", "account_update", "automatic_events",
        "business_capability_update", "business_status_update", "business_username_update", "calls", "flows",
        "group_lifecycle_update", "group_participants_update", "group_settings_update", "group_status_update",
        "history", "message_echoes", "message_template_components_update", "message_template_quality_update",
        "message_template_status_update", "messaging_handovers", "partner_solutions", "payment_configuration_update",
        "phone_number_name_update", "phone_number_quality_update", "security", "smb_app_state_sync",
        "smb_message_echoes", "standby", "template_category_update", "template_correct_category_detection",
        "tracking_events", "user_preferences",
    }
)  # fmt: skip
"""Change fields that are known and not metered. Names become metric labels, so all others are ``field:other``."""

_LISTS: Mapping[str, tuple[ListName, ...]] = {
    "messages": ("statuses", "messages"),
    "user_id_update": ("user_id_update",),
}
"""The change fields that are read, and the lists of updates in them."""

_IGNORED_STATUSES = {"deleted": "status:deleted", "warning": "status:warning"}


@dataclass(slots=True)
class _Reading:
    """One body while it is read."""

    object_name: str
    received_at_ms: int
    keep_text: bool
    parsed: Parsed


@dataclass(slots=True)
class _Change:
    """What all updates of one change share, and how it was written."""

    field: str
    origin: Origin
    entry_id: object
    value: dict[str, object]


def parse(body: bytes, received_at_ms: int, *, keep_text: bool = False) -> Parsed:
    """Return what one webhook body holds; one bad update never affects its siblings.

    Args:
        body: the POST body as received.
        received_at_ms: the receiver's clock, UTC milliseconds; stamped on every event.
        keep_text: leave message text in the payloads of refusals.

    Raises:
        UnparseableBody: not JSON, not an object with the text ``object`` and the list ``entry``, or more than
            ``UPDATES_PER_BODY_MAX`` updates. Nothing else is ever raised.
    """
    document = load_json(body)
    if not isinstance(document, dict):
        raise UnparseableBody(f"found {kind_of(document)}, expected a webhook object")
    object_name, entries = document.get("object"), document.get("entry")
    if not isinstance(object_name, str) or not isinstance(entries, list):
        raise UnparseableBody("expected an object with the text `object` and the list `entry`")
    reading = _Reading(object_name[:KEY_LENGTH_MAX], received_at_ms, keep_text, Parsed())
    check_update_limit(reading.parsed, len(entries), UPDATES_PER_BODY_MAX)
    for entry in entries:
        _read_entry(reading, entry)
    return reading.parsed


def _read_entry(reading: _Reading, entry: object) -> None:
    changes = entry.get("changes") if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or not isinstance(changes, list):
        if isinstance(entry, dict):
            detail = f"entry[].changes: found {kind_of(changes)}, expected a list"
        else:
            detail = f"entry[]: found {kind_of(entry)}, expected an object"
        _refuse_part(reading, detail, entry)
        return
    check_update_limit(reading.parsed, len(changes), UPDATES_PER_BODY_MAX)
    for change in changes:
        _read_change(reading, entry.get("id"), change)


def _read_change(reading: _Reading, entry_id: object, change: object) -> None:
    field = change.get("field") if isinstance(change, dict) else None
    if not isinstance(change, dict) or not isinstance(field, str):
        _refuse_change(reading, entry_id, change, f"field: found {kind_of(field)}, expected a string")
        return
    if is_tier_update(field, change.get("value")):
        _read_tier(reading, entry_id, change)
        return
    if field not in _LISTS:
        reading.parsed.ignored.append(field if field in IGNORED_FIELDS else "field:other")
        return
    value = change.get("value")
    if not isinstance(value, dict):
        _refuse_change(reading, entry_id, change, f"value: found {kind_of(value)}, expected an object")
        return
    _read_value(reading, entry_id, field, value)


def _read_tier(reading: _Reading, entry_id: object, change: dict[str, object]) -> None:
    """Read a change that is one update as a whole."""
    value = change["value"]
    assert isinstance(value, dict), "is_tier_update"
    origin = Origin.of(entry_id, None, reading.received_at_ms)
    try:
        reading.parsed.events.append(tier_event(value, origin))
    except Refused as refused:
        info = value.get("volume_tier_info")
        fields = ("tier_update_time", "pricing_category", "tier", "effective_month", "region")
        kept = {"event": value["event"], "volume_tier_info": _small_copy(info, fields)}
        entry = {"id": _small(entry_id), "changes": [{"field": change["field"], "value": kept}]}
        _add_refusal(reading, refused, entry, origin.account or "")


def _read_value(reading: _Reading, entry_id: object, field: str, value: dict[str, object]) -> None:
    """Read the value of one change: one or two lists of updates, or only errors."""
    names = [name for name in _LISTS[field] if _holds_updates(value.get(name))]
    if not names:
        reading.parsed.ignored.append("value:errors" if value.get("errors") else "value:empty")
        return
    origin = Origin.of(entry_id, value.get("metadata"), reading.received_at_ms)
    change = _Change(field, origin, entry_id, value)
    for name in names:
        _read_list(reading, change, name, value[name])


def _holds_updates(updates: object) -> bool:
    return updates is not None and updates != []


def _read_list(reading: _Reading, change: _Change, name: ListName, updates: object) -> None:
    if not isinstance(updates, list):
        refused = Refused("malformed", f"{name}: found {kind_of(updates)}, expected a list")
        _refuse_update(reading, change, name, updates, refused)
        return
    # Identity updates name their person themselves.
    listed = change.value.get("contacts") if name != "user_id_update" else None
    parsed, contacts = reading.parsed, Contacts(listed, name, updates)
    check_update_limit(parsed, len(updates), UPDATES_PER_BODY_MAX)
    for update in updates:
        if not isinstance(update, dict):
            refused = Refused("malformed", f"{name}[]: found {kind_of(update)}, expected an object")
            _refuse_update(reading, change, name, [update], refused)
            continue
        ignored = _ignored_as(name, update)
        if ignored is not None:
            parsed.ignored.append(ignored)
            continue
        try:
            event = _event_of(name, update, change.origin, contacts)
        except Refused as error:
            _refuse_update(reading, change, name, [update], error, contacts.of(update))
        else:
            parsed.events.append(event)


def _ignored_as(name: ListName, update: dict[str, object]) -> str | None:
    """Return the name under which an update is ignored; payments have a life of their own, `failed` included."""
    kind = update.get("type")
    if name == "messages":
        return "message:system" if kind == "system" and not names_two_ids(update) else None
    if name != "statuses":
        return None
    if kind == "payment":
        return "status:payment"
    word = update.get("status")
    return _IGNORED_STATUSES.get(word) if isinstance(word, str) else None


def _event_of(name: ListName, update: dict[str, object], origin: Origin, contacts: Contacts) -> Event:
    """Return the event of an update.

    Raises:
        Refused: it cannot be used.
    """
    if name == "statuses":
        return status_event(update, origin, contacts)
    if name == "user_id_update":
        return update_event(update, origin)
    if update.get("type") == "system":
        return system_event(update, origin)
    return incoming_event(update, origin, contacts)


def _refuse_update(
    reading: _Reading,
    change: _Change,
    name: ListName,
    updates: object,
    refused: Refused,
    contact: dict[str, object] | None = None,
) -> None:
    """Set one update aside inside a body of its own, with no more of its surroundings than it takes to read it.

    That is also no contact that was not its own: alone in its list, the update would be taken for that contact's.
    """
    value: dict[str, object] = {
        "messaging_product": "whatsapp",
        "metadata": _small_copy(change.value.get("metadata"), ("display_phone_number", "phone_number_id")),
    }
    if contact is not None:
        value["contacts"] = [_small_copy(contact, ("wa_id", "user_id", "parent_user_id"))]
    value[name] = _redacted(reading, updates)
    entry = {"id": _small(change.entry_id), "changes": [{"field": change.field, "value": value}]}
    _add_refusal(reading, refused, entry, change.origin.account or "")


def _refuse_change(reading: _Reading, entry_id: object, change: object, detail: str) -> None:
    _refuse_part(reading, f"entry[].changes[].{detail}", {"id": entry_id, "changes": [change]})


def _refuse_part(reading: _Reading, detail: str, entry: object) -> None:
    """Set an entry aside that could not be taken apart, or that holds nothing but such a change."""
    entry_id = None
    if isinstance(entry, dict) and "id" in entry:
        entry_id = entry["id"]
        entry = {**entry, "id": _small(entry_id)}
    account = Origin.of(entry_id, None, reading.received_at_ms).account or ""
    _add_refusal(reading, Refused("malformed", detail), _redacted(reading, entry), account)


def _redacted(reading: _Reading, update: object) -> object:
    return without_text(update, keep_text=reading.keep_text)


def _add_refusal(reading: _Reading, refused: Refused, entry: object, account: str) -> None:
    payload = orjson.dumps({"object": reading.object_name, "entry": [entry]})
    reading.parsed.refusals.append(Refusal(refused.reason, refused.detail, payload, account))


def _small_copy(fields: object, names: tuple[str, ...]) -> object:
    """Return the named fields of an object, each made small; what is not an object stays what it is."""
    if not isinstance(fields, dict):
        return _small(fields)
    return {name: _small(fields[name]) for name in names if name in fields}


def _small(value: object) -> object:
    """Return a value that is judged like the one given, but small: all siblings' payloads repeat it."""
    if isinstance(value, str):
        return value[: KEY_LENGTH_MAX + 1]
    if isinstance(value, list):
        return []
    return {} if isinstance(value, dict) else value
