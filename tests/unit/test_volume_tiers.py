"""Reports of volume tiers: how they are read, and that the earliest one counts (metering.md §5)."""

from __future__ import annotations

import copy
from datetime import date
from pathlib import Path
from random import Random

import msgspec
import orjson
import pytest

from metering.calendar import day_number
from schemas import canonical, meta
from schemas.codec import UnreadableRecord, decode_batch, encode_batch, partition_of
from schemas.events import UNKNOWN_COUNTRY, Event, VolumeTier, canonical_json
from schemas.rows import CounterKey, Family
from tests.support.partitions import Partition

RECEIVED_AT_MS = 1_793_664_000_000
AT = 1_793_577_790
TIER = VolumeTier("2026-11", "Rest of Africa", "utility", 100_001, 1_000_000)
ROW: CounterKey = (
    Family.VOLUME_TIERS, day_number(date(2026, 11, 1)), "9001", "", "Rest of Africa", "utility", 100_001, 1_000_000,
)  # fmt: skip


def reported(at: int = AT, tier: VolumeTier = TIER) -> Event:
    """Return the event of a report."""
    return Event(
        "meta", "9001", "identity", "tier", "identity", at, RECEIVED_AT_MS, UNKNOWN_COUNTRY, volume_tier=tier
    )


def body(**info: object) -> dict[str, object]:
    """Return a webhook body; a value of None leaves its field out."""
    fields: dict[str, object] = {
        "tier_update_time": AT,
        "pricing_category": "UTILITY",
        "tier": "100001:1000000",
        "effective_month": "2026-11",
        "region": "Rest of Africa",
    }
    fields = {name: value for name, value in (fields | info).items() if value is not None}
    value = {"event": "VOLUME_BASED_PRICING_TIER_UPDATE", "volume_tier_info": fields}
    change = {"field": "account_update", "value": value}
    return {"object": "whatsapp_business_account", "entry": [{"id": "9001", "changes": [change]}]}


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({}, TIER),
        ({"tier": "80000001:MAX"}, VolumeTier("2026-11", "Rest of Africa", "utility", 80_000_001, 0)),
        ({"tier": "0:100000"}, VolumeTier("2026-11", "Rest of Africa", "utility", 0, 100_000)),
        (
            {"pricing_category": "AUTHENTICATION-INTERNATIONAL", "region": "India"},
            VolumeTier("2026-11", "India", "authentication_international", 100_001, 1_000_000),
        ),
    ],
)
def test_a_report_is_read(info: dict[str, object], expected: VolumeTier) -> None:
    """Words become ours, numbers numbers, and a tier without an end has the upper bound 0."""
    [event] = meta.parse(orjson.dumps(body(**info)), RECEIVED_AT_MS).events
    assert event == reported(tier=expected)


@pytest.mark.parametrize(
    ("info", "reason", "detail"),
    [
        ({"tier": "many"}, "invalid_field", "LOWER:UPPER"),
        ({"tier": "5:4"}, "invalid_field", "LOWER:UPPER"),
        ({"tier": None}, "invalid_field", "LOWER:UPPER"),
        ({"effective_month": "2026-13"}, "invalid_field", "a month as YYYY-MM"),
        ({"effective_month": None}, "invalid_field", "effective_month"),
        ({"region": ""}, "invalid_field", "region"),
        ({"pricing_category": None}, "invalid_field", "pricing_category"),
        ({"tier_update_time": None}, "no_time", "tier_update_time"),
        ({"tier_update_time": RECEIVED_AT_MS // 1000 + 301}, "from_the_future", ""),
    ],
)
def test_a_faulty_report_is_refused_and_can_be_replayed(
    info: dict[str, object], reason: str, detail: str
) -> None:
    """It says what is wrong, and its payload comes to the same refusal again."""
    parsed = meta.parse(orjson.dumps(body(**info)), RECEIVED_AT_MS)
    [refusal] = parsed.refusals
    assert (refusal.reason, refusal.account, parsed.events, parsed.ignored) == (reason, "9001", [], [])
    assert detail in refusal.detail
    [again] = meta.parse(refusal.payload, RECEIVED_AT_MS).refusals
    assert (again.reason, again.detail, again.payload) == (refusal.reason, refusal.detail, refusal.payload)


def test_other_account_updates_stay_ignored_by_name() -> None:
    """Only the tiers are read, whatever else the field says."""
    other = copy.deepcopy(body())
    other["entry"][0]["changes"][0]["value"]["event"] = "PARTNER_ADDED"  # type: ignore[index]
    parsed = meta.parse(orjson.dumps(other), RECEIVED_AT_MS)
    assert (parsed.events, parsed.refusals, parsed.ignored) == ([], [], ["account_update"])


def test_the_canonical_form_is_read_back_as_it_was() -> None:
    """What goes to the dead letter as JSON is the same event when it is replayed; likewise a tier without an end."""
    for event in (reported(), reported(tier=msgspec.structs.replace(TIER, upper=0))):
        assert canonical.parse(canonical_json(event), RECEIVED_AT_MS).events == [event]


def test_a_record_keeps_it_and_contradictions_are_unreadable() -> None:
    """A tier belongs to its kind, and to no user."""
    assert decode_batch(encode_batch([reported()])) == [reported()]
    for changed in (
        {"volume_tier": None},
        {"kind": "delivered", "user_phone": "254700000001"},
        {"user_phone": "254700000001"},
        {"volume_tier": msgspec.structs.replace(TIER, region="a\0b")},
        {"volume_tier": msgspec.structs.replace(TIER, month="2026-00")},
        {"volume_tier": msgspec.structs.replace(TIER, lower=-1)},
    ):
        with pytest.raises(UnreadableRecord):
            decode_batch(encode_batch([msgspec.structs.replace(reported(), **changed)]))


@pytest.mark.parametrize("seed", range(12))
def test_the_earliest_report_counts_in_any_order(tmp_path: Path, seed: int) -> None:
    """Shuffled, repeated, cut into steps at random and through crashes: each tier has its earliest time, once."""
    random = Random(seed)
    second = msgspec.structs.replace(TIER, lower=1_000_001, upper=0)
    events = [reported(AT + late) for late in (0, 1, 500)] + [
        reported(AT + late, second) for late in (60, 61)
    ]
    number = partition_of("9001", "", 4)
    partition = Partition(tmp_path, number, 4, lambda _account: "UTC")
    for _ in range(3):
        for event in random.sample(events, len(events)):
            partition.log.append(encode_batch([event]))
        partition.work(random, crash_share=0.3)
    assert partition.rows == {ROW: (AT,), (*ROW[:-2], 1_000_001, 0): (AT + 60,)}
    assert partition.refusals == []
    partition.processor.rules("9001")
    account = partition.processor.accounts["9001"]
    assert (account.newest_at, account.cut) == (0, 0), "a report is no traffic"
    partition.store.close()


def test_a_report_below_the_floor_is_set_aside(tmp_path: Path) -> None:
    """Where the rows of its month have left the worker, it is late: it never starts a row anew."""
    partition = Partition(tmp_path, partition_of("9001", "", 1), 1, lambda _account: "UTC")
    partition.log.append(encode_batch([reported()]))
    partition.work(Random(0))
    partition.processor.accounts["9001"].floor_day = day_number(date(2026, 11, 2))
    later = reported(AT + 1, msgspec.structs.replace(TIER, month="2028-01"))
    partition.log.append(encode_batch([reported(AT - 5), later]))
    partition.work(Random(0))
    assert [refusal.reason for refusal in partition.refusals] == ["late"]
    assert partition.rows[ROW] == (AT,)
    assert len(partition.rows) == 2
    partition.store.close()
