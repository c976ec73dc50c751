"""Reading a simulated world back from its webhook bodies alone: what was said, and who is who by metering.md §7.

A reading of its own: it shares nothing with the parser, the core, the oracle or the generator but the words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec
import orjson
import phonenumbers

from schemas.events import Category, PricingModel, PricingType
from simulation.accounts import make_accounts
from simulation.generator import World
from simulation.world import Contact, Identity, Incoming, Outgoing, Said, Status, StatusName, Thread


def bodies_of(world: World) -> list[bytes]:
    """Return everything that arrives."""
    world.settle()
    return [body for _, body in world.bodies()]


class Seen(msgspec.Struct):
    """What one reading of the arriving bodies found; every different update by account, number and its bytes."""

    statuses: Counter[tuple[str, str, bytes]]
    incoming: Counter[tuple[str, str, bytes]]
    updates: Counter[tuple[str, str, bytes]]
    """Of user ids."""
    fields: Counter[str]
    sizes: Counter[int]
    shared: set[str]
    """Ids of messages of which an update came in one change with others."""


_LISTS = ("statuses", "messages", "user_id_update")


def look(bodies: Iterable[bytes]) -> Seen:
    """Read bodies as Meta documents them, failing on anything that is not of that shape."""
    seen = Seen(Counter(), Counter(), Counter(), Counter(), Counter(), set())
    for raw in bodies:
        body = orjson.loads(raw)
        assert body["object"] == "whatsapp_business_account"
        size = 0
        for entry in body["entry"]:
            for change in entry["changes"]:
                value = change["value"]
                seen.fields[change["field"]] += 1
                if change["field"] not in ("messages", "user_id_update"):
                    continue
                assert value["messaging_product"] == "whatsapp"
                number = value["metadata"]["phone_number_id"]
                (list_name,) = set(_LISTS) & set(value)
                assert (list_name == "user_id_update") == (change["field"] == "user_id_update")
                assert value.get("contacts") or list_name == "statuses"
                items = value[list_name]
                found = (seen.statuses, seen.incoming, seen.updates)[_LISTS.index(list_name)]
                for item in items:
                    found[entry["id"], number, orjson.dumps(item, option=orjson.OPT_SORT_KEYS)] += 1
                if len(items) > 1:
                    seen.shared |= {item["id"] for item in items}
                size += len(items)
        seen.sizes[size] += 1
    return seen


class WirePricing(msgspec.Struct):
    """``pricing`` of a status."""

    category: str
    pricing_model: PricingModel
    type: PricingType | None = None
    billable: bool | None = None


class WireOrigin(msgspec.Struct):
    """``conversation.origin`` of a status."""

    type: str


class WireConversation(msgspec.Struct):
    """``conversation`` of a status."""

    id: str
    origin: WireOrigin
    expiration_timestamp: str | None = None


class WireStatus(msgspec.Struct):
    """An entry of ``statuses[]``."""

    id: str
    status: str
    timestamp: str
    recipient_id: str | None = None
    recipient_user_id: str | None = None
    pricing: WirePricing | None = None
    conversation: WireConversation | None = None


class WireSystem(msgspec.Struct):
    """``system`` of a message."""

    type: str
    wa_id: str | None = None
    user_id: str | None = None
    previous_user_id: str | None = None


class WireMessage(msgspec.Struct, rename={"sender": "from"}):
    """An entry of ``messages[]``."""

    id: str
    timestamp: str
    type: str
    sender: str | None = None
    from_user_id: str | None = None
    referral: dict[str, str] | None = None
    system: WireSystem | None = None


class WireIds(msgspec.Struct):
    """``user_id`` of an update of it."""

    previous: str
    current: str


class WireUpdate(msgspec.Struct):
    """An entry of ``user_id_update[]``."""

    timestamp: str
    user_id: WireIds
    wa_id: str | None = None


def country_of(phone: str | None, bsuid: str | None) -> str:
    """Return the region of the phone, else the prefix of the BSUID."""
    if phone is None:
        assert bsuid is not None
        return bsuid[:2]
    region = phonenumbers.region_code_for_number(phonenumbers.parse(f"+{phone}"))
    assert region is not None
    return region


def said_by(status: WireStatus) -> Said | None:
    """Return what a status says, back in the words of the world."""
    pricing, conversation = status.pricing, status.conversation
    if pricing is None:
        return None
    category = msgspec.convert(pricing.category.replace("-", "_"), Category)
    if conversation is None:
        return Said(category, pricing.pricing_model, pricing.type, pricing.billable)
    expiry = conversation.expiration_timestamp
    return Said(
        category, pricing.pricing_model, pricing.type, pricing.billable,
        conversation.id, conversation.origin.type, None if expiry is None else int(expiry),
    )  # fmt: skip


class _Names:
    """What one account has been told about its users."""

    def __init__(self) -> None:
        self._successor: dict[str, str] = {}
        self._seen: dict[str, list[tuple[int, str]]] = {}

    def meet(self, at: int, phone: str | None, bsuid: str | None) -> Identity:
        """Note what one webhook shows, and return it."""
        if phone is not None and bsuid is not None:
            self._seen.setdefault(phone, []).append((at, bsuid))
        return Identity(country_of(phone, bsuid), phone, bsuid)

    def rename(self, previous: str, current: str) -> None:
        """Note that two user ids are one person's; no user id here has two successors."""
        assert self._successor.setdefault(previous, current) == current

    def person(self, looks: list[tuple[int, Identity]]) -> str:
        """Return whose message it is of which these are the events, with their times."""
        looks.sort(key=lambda look: look[0])
        bsuid = next((who.bsuid for _, who in looks if who.bsuid is not None), None)
        if bsuid is None:
            phone = next(who.phone for _, who in looks if who.phone is not None)
            seen = sorted(self._seen.get(phone, ()))
            if not seen:
                return phone
            before = [each for each in seen if each[0] <= looks[0][0]]
            bsuid = (before[-1] if before else seen[0])[1]
        while bsuid in self._successor:
            bsuid = self._successor[bsuid]
        return bsuid


def rebuild(seen: Seen) -> list[Contact]:
    """Put the world together again from what arrived, each update once."""
    accounts = {account.account_id: account for account in make_accounts(3)}
    numbers = {number.number_id: number for account in accounts.values() for number in account.numbers}
    names = {account: _Names() for account in accounts}
    outgoing: dict[tuple[str, str, str], Outgoing] = {}
    incoming: list[tuple[str, str, Incoming]] = []
    for account, number, raw in seen.statuses:
        status = msgspec.json.decode(raw, type=WireStatus)
        if status.status != "deleted":
            at = int(status.timestamp)
            who = names[account].meet(at, status.recipient_id, status.recipient_user_id)
            message = outgoing.setdefault((account, number, status.id), Outgoing(status.id, []))
            name = msgspec.convert(status.status, StatusName)
            message.statuses.append(Status(name, at, said_by(status), shown=who))
    for account, number, raw in seen.incoming:
        wire = msgspec.json.decode(raw, type=WireMessage)
        system = wire.system
        if system is None:
            who = names[account].meet(int(wire.timestamp), wire.sender, wire.from_user_id)
            received = Incoming(wire.id, int(wire.timestamp), referral=wire.referral is not None, shown=who)
            incoming.append((account, number, received))
        elif system.previous_user_id is not None and system.user_id is not None:
            names[account].meet(int(wire.timestamp), system.wa_id, system.user_id)
            names[account].rename(system.previous_user_id, system.user_id)
    for account, _, raw in seen.updates:
        update = msgspec.json.decode(raw, type=WireUpdate)
        names[account].meet(int(update.timestamp), update.wa_id, update.user_id.current)
        names[account].rename(update.user_id.previous, update.user_id.current)

    threads: dict[tuple[str, str, str], Thread] = {}
    people: dict[tuple[str, str], Contact] = {}

    def home(account: str, number: str, looks: list[tuple[int, Identity]]) -> Thread:
        person = names[account].person(looks)
        contact = people.setdefault((account, person), Contact(accounts[account], Identity("ZZ"), []))
        if (account, number, person) not in threads:
            threads[account, number, person] = Thread(numbers[number], [], [])
            contact.threads.append(threads[account, number, person])
        return threads[account, number, person]

    for (account, number, _), message in outgoing.items():
        looks = [(status.at, status.shown) for status in message.statuses if status.shown is not None]
        home(account, number, looks).outgoing.append(message)
    for account, number, received in incoming:
        assert received.shown is not None
        home(account, number, [(received.at, received.shown)]).incoming.append(received)
    return list(people.values())
