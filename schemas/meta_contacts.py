"""Who an update of Meta's webhooks names, and which contact of its change may say more about that person.

Owns the names of these fields, under all their spellings, and the rule for a contact that an update does not name. Does
not own what is taken from a contact (``schemas.meta_updates``).

A contact serves all updates of its change, and Meta does not say whose it is. To complete the wrong update would make
two people one user; not to complete the right one costs at most a dead letter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from schemas.refusing import Refused, is_absent, key_text, phone_or_bsuid

ListName = Literal["statuses", "messages", "user_id_update"]
Peer = tuple[str | None, str | None]
"""Phone and BSUID under which an update or a contact names a person."""

_UNREADABLE = "\0"
"""A name that refuses its update; no name that is taken holds a NUL."""


@dataclass(frozen=True, slots=True)
class UserFields:
    """The names under which one kind of object names a person."""

    phone: str
    bsuid: str
    parents: tuple[str, ...]


SENDER = UserFields("from", "from_user_id", ("from_parent_user_id", "parent_from_user_id"))
RECIPIENT = UserFields(
    "recipient_id", "recipient_user_id", ("recipient_parent_user_id", "parent_recipient_user_id")
)
PARTICIPANT = UserFields(
    "recipient_participant_id",
    "recipient_participant_user_id",
    ("recipient_participant_parent_user_id", "parent_recipient_participant_user_id"),
)
_CONTACT = UserFields("wa_id", "user_id", ("parent_user_id",))


class Contacts:
    """The ``contacts[]`` of one change beside one of its lists: who is meant where an update does not say it all."""

    __slots__ = ("_by_name", "_list", "_list_name", "_sole", "_sole_is_all", "_updates")

    def __init__(self, contacts: object, list_name: ListName, updates: Sequence[object]) -> None:
        """Take both lists as they stand; contacts that are no objects are of no use."""
        self._list: list[object] = contacts if isinstance(contacts, list) else []
        self._list_name = list_name
        self._updates = updates
        only = self._list[0] if len(self._list) == 1 else None
        self._sole: dict[str, object] | None = only if isinstance(only, dict) else None
        # Both are found out once: a body may hold thousands of messages and as many contacts.
        self._sole_is_all: bool | None = None
        self._by_name: dict[Peer, dict[str, object]] | None = None

    def of(self, update: Mapping[str, object]) -> dict[str, object] | None:
        """Return the contact that completes an update, None if none does.

        For a message the one with its phone, else with its user id, else the only one. For a status the only one, and
        none if the status has a recipient or is of a group.
        """
        fields = _names_in(update, self._list_name)
        if fields is not SENDER and (fields is PARTICIPANT or not is_absent(update.get(fields.phone))):
            return None
        if len(self._list) < 2:
            return self._sole_for(update, fields)
        if fields is not SENDER:
            return None
        if self._by_name is None:
            self._by_name = self._index()
        phone, bsuid = _peer(update, fields)
        return self._by_name.get((phone, None)) or self._by_name.get((None, bsuid))

    def _sole_for(self, update: Mapping[str, object], fields: UserFields) -> dict[str, object] | None:
        """Return the only contact, unless the update may be somebody else's.

        Alone, an update can be no one else's, even where it writes the phone in another way than the contact.
        """
        if self._sole is None or len(self._updates) == 1:
            return self._sole
        contact = _peer(self._sole, _CONTACT)
        if _is_same(_peer(update, fields), contact):
            return self._sole
        if self._sole_is_all is None:
            self._sole_is_all = self._all_are(contact)
        return self._sole if self._sole_is_all else None

    def _all_are(self, contact: Peer) -> bool:
        """Tell whether the updates name somebody, and nobody but the contact, if under several names."""
        peers = {
            _peer(update, _names_in(update, self._list_name))
            for update in self._updates
            if isinstance(update, dict)
        } - {(None, None)}
        same = {peer for peer in peers if _is_same(peer, contact)}
        phones = {phone for phone, _ in same} - {None, _UNREADABLE}
        return bool(same) and all(bsuid is None and phone in phones for phone, bsuid in peers - same)

    def _index(self) -> dict[Peer, dict[str, object]]:
        """Return the contacts by ``(phone, None)`` and ``(None, bsuid)``; the first one of a name has it."""
        by_name: dict[Peer, dict[str, object]] = {}
        for contact in self._list:
            if isinstance(contact, dict):
                phone, bsuid = _peer(contact, _CONTACT)
                by_name.setdefault((phone, None), contact)
                by_name.setdefault((None, bsuid), contact)
        for no_name in ((None, None), (_UNREADABLE, None), (None, _UNREADABLE)):
            by_name.pop(no_name, None)
        return by_name


def _peer(named: Mapping[str, object], fields: UserFields) -> Peer:
    """Return how an update or a contact names a person; what refuses an update is ``_UNREADABLE`` here."""
    try:
        phone, bsuid = phone_or_bsuid(named.get(fields.phone), fields.phone)
    except Refused:
        phone, bsuid = _UNREADABLE, None
    try:
        return phone, key_text(named.get(fields.bsuid), fields.bsuid) or bsuid
    except Refused:
        return phone, _UNREADABLE


def _is_same(peer: Peer, contact: Peer) -> bool:
    """Tell whether two name the same person: by the user id, and where one of them has none, by the phone."""
    (phone, bsuid), (contact_phone, contact_bsuid) = peer, contact
    if _UNREADABLE in peer:
        return False
    if bsuid is not None and contact_bsuid not in (None, _UNREADABLE):
        return bsuid == contact_bsuid
    return phone is not None and phone == contact_phone


def _names_in(update: Mapping[str, object], list_name: ListName) -> UserFields:
    """Return the fields that name the person of an element of a list."""
    if list_name == "messages":
        return SENDER
    return PARTICIPANT if is_group(update) else RECIPIENT


def is_group(status: Mapping[str, object]) -> bool:
    """Tell whether a status is of a group: its participant says so as well as its type."""
    return status.get("recipient_type") == "group" or not (
        is_absent(status.get(PARTICIPANT.phone)) and is_absent(status.get(PARTICIPANT.bsuid))
    )
