"""Meta's word that a user has another id now: an element of ``user_id_update[]``, or a system message.

Owns which fields say so, and which system messages say it. Does not own the envelope (``schemas.meta``) nor what
follows for the numbers (metering.md §7). Contacts of the change are not read: an update names its person itself, and a
contact may be somebody else.

Where the shapes come from:

- Change field ``user_id_update``: "Business-scoped user IDs" in Meta's documentation from March to August 2026
  (developers.facebook.com/documentation/business-messaging/whatsapp/business-scoped-user-ids), and 8x8's guide, which
  forwards it (developer.8x8.com/connect/docs/whatsapp-business-scoped-user-ids). ``wa_id`` is left out where the phone
  may not be shown, ``parent_user_id`` where there are no parent ids.
- System messages: on 2026-08-11 Meta took that field out of its documentation and said that changes come as system
  messages with ``system.previous_user_id`` beside ``system.user_id``: of type ``user_changed_number``, or
  ``user_changed_user_id`` where no phone may be shown (github.com/chatwoot/chatwoot/pull/15357, comment of 2026-08-27).
  Before, ``user_changed_user_id`` had the previous id in its text only. ``wa_id`` is the new phone, ``from`` the old
  one (.../whatsapp/webhooks/reference/messages/system).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from schemas.country import resolve
from schemas.events import Event
from schemas.meta_contacts import SENDER
from schemas.meta_updates import Origin, object_in
from schemas.refusing import (
    NOT_NAMED,
    is_absent,
    key_text,
    occurred_seconds,
    phone_or_bsuid,
    replaced_by,
)

_CHANGES: Final = ("user_changed_user_id", "user_changed_number")


def names_two_ids(message: Mapping[str, object]) -> bool:
    """Tell whether a system message says that one user id took the place of another.

    A changed phone without the two ids links nobody: metering.md §7 joins ids, and phones only by ids.
    """
    system = object_in(message, "system")
    previous, current = _previous_id(message, system)[0], system.get("user_id")
    return (
        system.get("type") in _CHANGES
        and not is_absent(previous)
        and not is_absent(current)
        and previous != current
    )


def system_event(message: Mapping[str, object], origin: Origin) -> Event:
    """Return the event of a system message that ``names_two_ids``.

    Raises:
        Refused: it cannot be used.
    """
    system = object_in(message, "system")
    previous, field = _previous_id(message, system)
    message_id = key_text(message.get("id"), "id") or NOT_NAMED
    names = (field, "system.user_id")
    ids = (previous, system.get("user_id"), system.get("parent_user_id"))
    return _event(origin, message_id, message.get("timestamp"), system.get("wa_id"), ids, names)


def update_event(update: Mapping[str, object], origin: Origin) -> Event:
    """Return the event of one element of ``user_id_update[]``.

    Raises:
        Refused: it cannot be used.
    """
    replaced = object_in(update, "user_id")
    parent = object_in(update, "parent_user_id").get("current")
    names = ("user_id.previous", "user_id.current")
    ids = (replaced.get("previous"), replaced.get("current"), parent)
    return _event(origin, NOT_NAMED, update.get("timestamp"), update.get("wa_id"), ids, names)


def _previous_id(message: Mapping[str, object], system: Mapping[str, object]) -> tuple[object, str]:
    """Return the previous id and its field: as said, else that of the sender, who is the one that changed."""
    previous = system.get("previous_user_id")
    if is_absent(previous):
        return message.get(SENDER.bsuid), SENDER.bsuid
    return previous, "system.previous_user_id"


def _event(
    origin: Origin,
    message_id: str,
    timestamp: object,
    wa_id: object,
    ids: tuple[object, object, object],
    names: tuple[str, str],
) -> Event:
    """Return the event that joins two ids: previous, current and the current parent, under the fields' names."""
    account, number = origin.identified(NOT_NAMED)
    occurred_at = occurred_seconds(timestamp, "timestamp", origin.received_at_ms)
    phone, _ = phone_or_bsuid(wa_id, "wa_id")
    previous, current = replaced_by(key_text(ids[0], names[0]), key_text(ids[1], names[1]), names)
    return Event(
        provider="meta",
        account=account,
        number=number,
        kind="identity",
        message_id=message_id,
        occurred_at=occurred_at,
        received_at=origin.received_at_ms,
        country=resolve(phone, current),
        user_phone=phone,
        user_bsuid=current,
        user_parent_bsuid=key_text(ids[2], "parent_user_id"),
        number_display=origin.number_display,
        user_previous_bsuid=previous,
    )
