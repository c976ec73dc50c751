"""The simulated world: its bytes, its arrival and its sore points."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice, pairwise
from random import Random

import orjson
import pytest

from schemas.country import resolve
from schemas.meta import parse
from simulation import arrivals
from simulation.accounts import ConfigFault, config_text, make_accounts, varied_zones, zones_from_config
from simulation.arrivals import Arrivals, Packer, Routes, Update
from simulation.generator import World, WorldOptions, contacts
from simulation.guises import updates_of
from simulation.live import live_bodies
from simulation.truth import Truth, climb
from tests.unit.simulation_bodies import bodies_of, country_of, look

NOON = 1_793_620_800  # 2026-11-02 12:00:00 UTC
HOUR = 3_600
DAY = 86_400


def test_equal_options_give_equal_bytes() -> None:
    """The seed decides every byte; another seed gives other traffic."""
    options = WorldOptions(users=60)
    first = bodies_of(World(options))
    assert first == bodies_of(World(options))
    assert first != bodies_of(World(WorldOptions(users=60, seed=2)))


def test_noise_does_not_change_the_truth() -> None:
    """Bad updates arrive on top of the same world."""
    plain, noisy = Truth({}), Truth({})
    World(WorldOptions(users=100), plain).settle()
    world = World(WorldOptions(users=100, bad_share=0.2), noisy)
    bodies = b"".join(bodies_of(world))
    assert list(plain.rows()) == list(noisy.rows())
    assert b"teleported" in bodies


def test_no_copy_arrives_later_than_retries_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a quiet world of months, too, every copy of an update arrives within 6.9 days, and never early."""
    # One update in 20 minutes, so that the last 50 batches span weeks; more repeats than usual, to see many.
    monkeypatch.setattr(arrivals, "_REPEATED_BODY_SHARE", 0.2)
    rng = Random(5)
    (account,) = make_accounts(1)
    routes = Routes([account])
    network = Arrivals(rng)
    for index in range(6_000):
        at = NOON + index * 1_200
        network.add(at, routes.base(account.numbers[0]), "", f'{{"timestamp":"{at}"}}')
    clock = [0.0]

    def ticking() -> Iterator[Update]:
        for update in network.drain():
            clock[0] = update[0]
            yield update

    oldest_seconds, copies = 0.0, 0
    for update_count, body in Packer(routes, rng).pack(ticking()):
        stamps = [int(stamp) for stamp in re.findall(rb'"timestamp":"(\d+)"', body)]
        assert len(stamps) == update_count
        # A batch that is overdue comes out with the next update; it left before.
        oldest_seconds = max(oldest_seconds, clock[0] - min(stamps) - (1_200 if update_count > 1 else 0))
        assert max(stamps) <= clock[0]
        copies += update_count
    assert copies > 6_500
    assert 6 * DAY < oldest_seconds <= 6.9 * DAY


def test_parser_refuses_the_bad_updates_and_no_other() -> None:
    """The product's own parser takes every update of a world without faults, and refuses each kind of fault."""
    received_at_ms = 1_795_000_000_000
    reasons: dict[float, Counter[str]] = {}
    for bad_share in (0.0, 0.2):
        world = World(WorldOptions(users=300, bad_share=bad_share))
        world.settle()
        reasons[bad_share] = Counter()
        for update_count, body in world.bodies():
            parsed = parse(body, received_at_ms)
            assert parsed.update_count == update_count
            reasons[bad_share].update(refusal.reason for refusal in parsed.refusals)
    assert reasons[0.0].total() == 0
    assert set(reasons[0.2]) == {
        "no_message_id", "no_time", "no_user", "no_number", "unknown_kind", "from_the_future", "invalid_field",
    }  # fmt: skip
    assert 0.1 < reasons[0.2].total() / world.census.updates < 0.3


@pytest.fixture(scope="module")
def week() -> tuple[World, list[bytes]]:
    """One week of 1,000 users."""
    world = World(WorldOptions())
    return world, bodies_of(world)


def test_a_week_has_every_sore_point(week: tuple[World, list[bytes]]) -> None:
    """Repeats, retries, batches, ignored updates and all kinds of statuses and messages do occur."""
    world, bodies = week
    seen = look(bodies)
    repeats = seen.statuses.total() - len(seen.statuses)
    assert 0.02 < repeats / len(seen.statuses) < 0.08
    assert world.arrivals.late > 50
    assert max(seen.sizes) >= 12
    assert seen.sizes[1] / seen.sizes.total() > 0.9
    assert seen.fields["account_update"] >= 21
    assert seen.fields["user_preferences"] > 0
    names = Counter(orjson.loads(key[2])["status"] for key in seen.statuses)
    assert set(names) == {"sent", "delivered", "read", "played", "failed", "deleted"}
    types = {orjson.loads(key[2])["type"] for key in seen.incoming}
    assert {"text", "image", "reaction", "button", "interactive", "unsupported", "system"} <= types
    everything = b"".join(bodies)
    for wanted in (
        b'"category":"authentication-international"', b'"category":"marketing_lite"', b'"type":"free_entry_point"',
        b'"expiration_timestamp"', b'"referral":{', b'"code":131049',
    ):  # fmt: skip
        assert wanted in everything


def test_a_week_has_every_kind_of_ladder() -> None:
    """Reads without deliveries, failures taken back, messages pending for ever and silent templates do occur."""
    found: Counter[str] = Counter()
    for contact in contacts(WorldOptions(), make_accounts(3)):
        for line in contact.threads:
            for message in line.outgoing:
                names = [status.name for status in message.statuses]
                found["read without delivered"] += "read" in names and "delivered" not in names
                found["taken back"] += "failed" in names and "delivered" in names
                found["pending"] += names == ["sent"]
                found["failed"] += names[-1] == "failed"
                found["silent"] += all(status.said is None for status in message.statuses)
    ladders = ("read without delivered", "taken back", "pending", "failed", "silent")
    assert min(found[name] for name in ladders) >= 3


def test_people_are_where_their_numbers_say() -> None:
    """Every phone resolves to the country that the person is in, and BSUIDs differ by account."""
    owners: dict[str, str] = {}
    phones: set[str] = set()
    for contact in contacts(WorldOptions(users=2_000, days=2), make_accounts(3)):
        for update in updates_of(contact.threads):
            who = update.shown or contact.identity
            assert resolve(who.phone, who.bsuid) == country_of(who.phone, who.bsuid) == who.country
            if who.bsuid is not None:
                assert re.fullmatch(r"[A-Z]{2}\.[A-Za-z0-9]{1,128}", who.bsuid)
                assert owners.setdefault(who.bsuid, contact.account.account_id) == contact.account.account_id
            if who.phone is not None:
                phones.add(who.phone)
    assert len(phones) > 500


def test_everything_happens_before_the_end_and_pricing_is_said_early(week: tuple[World, list[bytes]]) -> None:
    """No update is from outside the days asked for, and no price is first said long after the delivery."""
    options = WorldOptions()
    for key in look(week[1]).statuses:
        assert options.start <= int(orjson.loads(key[2])["timestamp"]) < options.end
    for contact in contacts(options, make_accounts(3)):
        for line in contact.threads:
            for message in line.outgoing:
                delivered_at = climb(message, contact.identity).delivered_at
                if delivered_at is not None:
                    assert all(s.at <= delivered_at + 8 * DAY for s in message.statuses if s.said is not None)


def test_before_april_2026_users_are_phones() -> None:
    """Worlds of the past have no business-scoped ids, and before July 2025 they speak of conversations."""
    bodies = b"".join(bodies_of(World(WorldOptions(users=100, start=1_748_736_000))))  # 2025-06-01
    assert b"user_id" not in bodies
    assert b'"pricing_model":"CBP"' in bodies
    assert b'"pricing_model":"PMP"' not in bodies


def test_live_traffic_is_of_now_and_repeatable() -> None:
    """Live bodies carry times at most an hour old and never ahead of the clock; equal clocks give equal traffic."""

    # Five bodies a second for about two minutes.
    def take() -> list[tuple[int, float, bytes]]:
        now = [float(NOON)]
        taken = []
        for delay, body in islice(live_bodies(7, lambda: int(now[0]), users=50), 600):
            taken.append((int(now[0]), delay, body))
            now[0] += delay
        return taken

    first = take()
    assert first == take()
    assert 80 < sum(delay for _, delay, _ in first) < 160
    for asked_at, _, body in first:
        (stamp,) = re.findall(rb'"timestamp":"(\d+)"', body)
        assert asked_at - HOUR < int(stamp) <= asked_at
    assert sum(before[2] == after[2] for before, after in pairwise(first)) > 0
    assert {b'"status":"sent"', b'"status":"read"'} <= set(
        re.findall(rb'"status":"\w+"', b"".join(x[2] for x in first))
    )


def test_config_round_trip_and_faults() -> None:
    """A written settings file gives its zones back; accounts it does not name are in UTC; faults are told."""
    accounts = make_accounts(4)
    zones = varied_zones(accounts)
    assert len(set(zones.values())) == 4
    assert zones_from_config(config_text(zones), accounts) == zones
    assert set(zones_from_config("broker = 'embedded://x'", accounts).values()) == {"UTC"}
    for text in (
        "[accounts",
        'accounts = "x"',
        f"[accounts.{accounts[0].account_id}]\ntime_zone = 'Mars/Base'",
    ):
        with pytest.raises(ConfigFault):
            zones_from_config(text, accounts)
    with pytest.raises(ConfigFault, match="one zone name"):
        zones_from_config(f"[accounts.{accounts[0].account_id}]\ntime_zone = [{{ zone = 'UTC' }}]", accounts)
