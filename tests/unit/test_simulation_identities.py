"""How people appear in the simulated world: hidden phones, replaced user ids, phones that pass on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice

import orjson
import pytest

from schemas.events import Event
from schemas.meta import parse
from schemas.rows import CounterKey, Family
from simulation.accounts import make_accounts, varied_zones
from simulation.generator import World, WorldOptions, contacts
from simulation.guises import updates_of
from simulation.live import live_bodies
from simulation.truth import Truth
from simulation.world import Contact, Identity, Incoming, Status
from tests.oracle.people import expected_phones
from tests.oracle.totals import expected_totals
from tests.unit.simulation_bodies import bodies_of, look, rebuild

HOUR = 3_600
DAY = 86_400
NOON = 1_793_620_800  # 2026-11-02 12:00:00 UTC
SEPTEMBER = 1_788_220_800  # 2026-09-01


def manner(who: Identity | None) -> str:
    """Return by what a webhook names somebody."""
    assert who is not None
    return "both" if who.phone and who.bsuid else "phone" if who.phone else "user id"


@pytest.mark.parametrize("start", [WorldOptions().start, 1_751_241_600, 1_775_001_600, 1_790_640_000])
def test_truth_can_be_told_from_the_bodies(start: int) -> None:
    """What arrives holds the whole world: counted from the bodies alone it gives the same rows, in all regimes."""
    # 1_751_241_600 = 2025-06-30, 1_790_640_000 = 2026-09-29: both weeks cross a change of the price regime;
    # 1_775_001_600 = 2026-04-01: the first day of user ids.
    zones = varied_zones(make_accounts(3))
    told, read = Truth(zones), Truth(zones)
    bodies = bodies_of(World(WorldOptions(users=400, start=start), told))
    for contact in rebuild(look(bodies)):
        read.add(contact)
    assert list(told.rows()) == list(read.rows())


def handovers(people: list[Contact]) -> Iterator[tuple[Contact, Contact, str]]:
    """Yield former owner, heir and phone wherever both are known to one account."""
    owners: dict[tuple[str, str], Contact] = {}
    for contact in people:
        phones = {update.shown.phone for update in updates_of(contact.threads) if update.shown}
        for phone in sorted(phone for phone in phones if phone is not None):
            former = owners.setdefault((contact.account.account_id, phone), contact)
            if former is not contact:
                yield former, contact, phone


def by(contact: Contact, phone: str) -> list[Status | Incoming]:
    """Return the updates that name the contact by the phone, in order of time."""
    found = [update for update in updates_of(contact.threads) if update.shown and update.shown.phone == phone]
    return sorted(found, key=lambda update: update.at)


@pytest.mark.parametrize("seed", range(1, 9))
def test_default_size_has_every_kind_of_appearance(seed: int) -> None:
    """None of the ways to appear is missing from a month of 200 people, whatever the seed."""
    people = list(contacts(WorldOptions(seed=seed, users=200, days=30, start=SEPTEMBER), make_accounts(3)))
    found: Counter[str] = Counter()
    for contact in people:
        updates = list(updates_of(contact.threads))
        manners = {manner(update.shown) for update in updates}
        found["only " + ", ".join(sorted(manners))] += 1
        received = {manner(update.shown) for update in updates if isinstance(update, Incoming)}
        found["revealed"] += received == {"both", "user id"}
        found["paired"] += (
            sum(manner(update.shown) == "both" for update in updates) == 1 and "phone" in manners
        )
        for thread in contact.threads:
            for outgoing in thread.outgoing:
                names = {status.name: manner(status.shown) for status in outgoing.statuses}
                found[f"sent by {names.get('sent')}, failed by {names.get('failed')}"] += 1
        told = Counter((rename.previous, rename.is_message) for rename in contact.renames)
        found["renamed"] += bool(told)
        found["renamed twice"] += len({previous for previous, _ in told}) > 1
        found["told twice"] += len(told) > len({previous for previous, _ in told})
        found["told by a message"] += any(is_message for _, is_message in told)
        found["told late"] += any(rename.is_late for rename in contact.renames)
        found["renamed without a phone"] += any(rename.phone is None for rename in contact.renames)
    for former, heir, phone in handovers(people):
        sides = [
            {(u.name, manner(u.shown)) for u in by(c, phone) if isinstance(u, Status)} for c in (former, heir)
        ]
        found["failed by phone on both sides"] += all(("failed", "phone") in side for side in sides)
        found["delivered by phone on both sides"] += all(("delivered", "phone") in side for side in sides)
        found["former has another phone"] += bool(former.renames)
        found["former falls silent"] += not former.renames
    assert {name: count for name, count in found.items() if name in _WANTED and count > 0}.keys() == _WANTED
    assert found["only both"] + found["only both, phone"] > len(people) / 2


_WANTED = {
    "only both, phone", "only user id", "only phone", "revealed", "paired",
    "sent by both, failed by phone", "sent by user id, failed by phone", "sent by user id, failed by user id",
    "renamed", "told twice", "told by a message", "told late", "renamed without a phone",
    "failed by phone on both sides", "delivered by phone on both sides",
    "former has another phone", "former falls silent",
}  # fmt: skip


def test_nobody_can_mistake_whose_a_phone_is() -> None:
    """A phone that passes on is never named between its last owner and the webhook that shows the new one with it."""
    people = list(contacts(WorldOptions(users=2_000, days=5), make_accounts(3)))
    passed_on = list(handovers(people))
    assert len(passed_on) > 20
    for former, heir, phone in passed_on:
        before, after = by(former, phone), by(heir, phone)
        assert before[-1].at < after[0].at
        assert "both" in {manner(update.shown) for update in before}
        assert "both" in {manner(update.shown) for update in after if update.at == after[0].at}
        owners = [{u.shown.bsuid for u in side if u.shown} - {None} for side in (before, after)]
        assert owners[0].isdisjoint(owners[1])


def test_every_phone_that_stands_alone_is_once_seen_with_its_user_id() -> None:
    """Whoever has user ids is seen with phone and user id together, for each phone that is ever shown alone."""
    alone = 0
    for contact in contacts(WorldOptions(users=1_000, days=5), make_accounts(3)):
        shown = {update.shown for update in updates_of(contact.threads) if update.shown}
        together = {who.phone for who in shown if who.bsuid} | {rename.phone for rename in contact.renames}
        phones = {who.phone for who in shown if who.phone}
        if any(who.bsuid for who in shown):
            assert phones <= together
            alone += any(who.bsuid is None for who in shown)
    assert alone > 50


def test_webhooks_of_a_replaced_user_id() -> None:
    """A replaced user id comes as ``user_id_update`` or as a system message, with both ids and the phone if shown."""
    bodies = bodies_of(World(WorldOptions(users=400)))
    seen = look(bodies)
    updates = [orjson.loads(raw) for _, _, raw in seen.updates]
    assert updates
    for update in updates:
        assert update.keys() - {"wa_id"} == {"detail", "timestamp", "user_id"}
        assert update["user_id"].keys() == {"previous", "current"}
        assert update["user_id"]["previous"] != update["user_id"]["current"]
        assert isinstance(update["timestamp"], str)
    assert {"wa_id" in update for update in updates} == {True, False}
    systems = [message["system"] for _, _, raw in seen.incoming if "system" in (message := orjson.loads(raw))]
    types = {system["type"] for system in systems if "previous_user_id" in system}
    assert types <= {"user_changed_number", "user_changed_user_id"}
    assert types
    kinds = Counter(event.kind for body in bodies for event in parse(body, 1_795_000_000_000).events)
    assert kinds["identity"] > len(updates)


def test_failed_statuses_omit_the_user_id_and_the_contact() -> None:
    """Most failures name the phone alone, and none comes with a contact."""
    named: Counter[str] = Counter()
    for raw in bodies_of(World(WorldOptions(users=600))):
        for change in orjson.loads(raw)["entry"][0]["changes"]:
            statuses = change["value"].get("statuses", [])
            for status in statuses:
                if status["status"] == "failed":
                    named[",".join(sorted(status.keys() & {"recipient_id", "recipient_user_id"}))] += 1
            if statuses and all(status["status"] == "failed" for status in statuses):
                assert "contacts" not in change["value"]
    assert named["recipient_id"] > named["recipient_user_id"] + named["recipient_id,recipient_user_id"] > 0


def test_who_appears_in_several_ways_shares_no_change() -> None:
    """A contact completes other updates of its change, so those of varying appearance stand alone in theirs."""
    options = WorldOptions(users=600)
    shared = look(bodies_of(World(options))).shared
    varied: set[str] = set()
    for contact in contacts(options, make_accounts(3)):
        if contact.is_varied:
            for thread in contact.threads:
                varied |= {message.message_id for message in thread.outgoing}
                varied |= {message.message_id for message in thread.incoming}
    assert len(shared) > 100
    assert len(varied) > 100
    assert shared.isdisjoint(varied)


def test_identity_webhooks_come_late_and_twice() -> None:
    """The network treats the word of a replaced user id like any update, and holds some back for days."""
    world = World(WorldOptions(users=4_000, days=3, accounts=1))
    world.settle()
    copies: dict[str, list[float]] = {}
    for arrival, _, _, item in world.arrivals.drain():
        if '"user_id_update"' in item:
            update = orjson.loads(item)["value"]["user_id_update"][0]
            copies.setdefault(item, []).append(arrival - int(update["timestamp"]))
    assert len(copies) > 100
    assert sum(min(lags) > HOUR for lags in copies.values()) > len(copies) / 5
    assert any(len(lags) > 1 for lags in copies.values())
    assert all(0 < lag < 6.9 * DAY for lags in copies.values() for lag in lags)


def test_no_user_ids_before_april_2026() -> None:
    """Before their first day everybody is one phone, and no phone passes on."""
    options = WorldOptions(users=300, start=1_775_001_600 - 8 * DAY)
    for contact in contacts(options, make_accounts(3)):
        assert {manner(update.shown or contact.identity) for update in updates_of(contact.threads)} == {
            "phone"
        }
        assert contact.renames == []


def accepted(bodies: list[bytes]) -> list[Event]:
    """Return what the product's own parser reads, each event once."""
    return list(dict.fromkeys(event for body in bodies for event in parse(body, 1_797_000_000_000).events))


def of_oracle(totals: dict[CounterKey, tuple[int, ...]]) -> dict[tuple[object, ...], int]:
    """Return the sums that the truth has as well: of messages, conversations, incoming and active users."""
    found: Counter[tuple[object, ...]] = Counter()
    for key, values in totals.items():
        if key[0] == Family.MESSAGES:
            for place, value in enumerate(values):
                found["usage", place, *key[2:6]] += value
        elif key[0] == Family.CONVERSATIONS:
            found["free", *key[2:6]] += values[1]
            found["charged", *key[2:6]] += values[2]
        elif key[0] == Family.INCOMING:
            found["incoming", *key[2:5]] += values[0]
        elif key[0] == Family.ACTIVE_USERS and key[4] == "":
            found["mau" if key[5] == "any" else "mau_both", *key[2:4]] += values[0]
    return {key: value for key, value in found.items() if value}


def of_truth(truth: Truth) -> dict[tuple[object, ...], int]:
    """Return the same sums of the truth."""
    found: Counter[tuple[object, ...]] = Counter()
    for row in truth.rows():
        where = (row["account"], row["number"], row.get("country"))
        if row["query"] == "usage":
            for place, name in enumerate(("total", "sent", "delivered", "read", "not_delivered")):
                found["usage", place, *where, row["category"]] += int(row[name] or 0)
        elif row["query"] == "conversations":
            found["free", *where, row["type"]] += int(row["free"] or 0)
            found["charged", *where, row["type"]] += int(row["charged"] or 0)
        elif row["query"] == "incoming":
            found["incoming", *where] += int(row["count"] or 0)
        else:
            for name in ("mau", "mau_both"):
                found[name, *where[:2]] += int(row[name] or 0)
    return {key: value for key, value in found.items() if value}


@pytest.mark.parametrize("seed", [1, 2])
def test_truth_agrees_with_the_oracle(seed: int) -> None:
    """The second implementation comes to the same from the parsed webhooks, and not without the identity events."""
    truth = Truth({})
    events = accepted(bodies_of(World(WorldOptions(seed=seed, users=200, days=30, start=SEPTEMBER), truth)))
    assert of_oracle(expected_totals(events)) == of_truth(truth)
    active = [row for row in truth.rows() if row["query"] == "active-users"]
    phones = {(r["month"], r["account"], r["number"]): r["mau_phones"] for r in active}
    assert phones == {key[:3]: value for key, value in expected_phones(events).items() if key[3] == ""}
    unlinked = [event for event in events if event.kind != "identity"]
    assert of_oracle(expected_totals(unlinked)) != of_truth(truth)


def test_live_people_change_as_well() -> None:
    """Within hours live people hide, change and pass on their phones; no update is from the future."""
    now = [NOON]
    bodies = []
    for delay, body in islice(live_bodies(3, lambda: now[0], updates_per_second=0.8, users=200), 15_000):
        stamps = {event.occurred_at for event in parse(body, now[0] * 1_000).events}
        assert all(now[0] - HOUR < at <= now[0] for at in stamps)
        bodies.append(body)
        now[0] += round(delay)
    events = accepted(bodies)
    people = rebuild(look(bodies))
    assert sum(event.kind == "identity" for event in events) >= 5
    assert {(event.user_phone is None, event.user_bsuid is None) for event in events} == {
        (False, False), (False, True), (True, False),
    }  # fmt: skip
    assert any(handovers(people))
