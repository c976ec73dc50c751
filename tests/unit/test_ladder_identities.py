"""Messages whose events name their user in different ways, or come by another partition: one each, judged once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from random import Random

import pytest

from metering.ladder_health import Heard, LadderCounts, LadderWatch
from schemas.events import Event
from streams.step import Step
from tests.support.partitions import Partitions

BEGIN = 2_000_000_000 - 86_360
"""A minute's begin, about a day before the partitions' clock."""
USERS = 20
WAIT_MINUTES = 30
SENT, DELIVERED = 1, 2
ALL, PHONE, BSUID = "phone and id", "phone", "id"


def status(kind: str, message: str, at: int, user: int, named_by: str) -> Event:
    """Return a status that names its user by phone, by business-scoped id, or by both."""
    return Event(
        provider="meta",
        account="A",
        number="N",
        kind=kind,  # type: ignore[arg-type]
        message_id=message,
        occurred_at=at,
        received_at=(at + 1) * 1000,
        country="DE",
        user_phone=f"49170000{user:05d}" if named_by != BSUID else None,
        user_bsuid=f"DE.{user:020d}" if named_by != PHONE else None,
    )


def _show(watch: LadderWatch, step: Step) -> None:
    watch.take(step.heard)


def judged(directory: Path, partition_count: int, events: Sequence[Event]) -> LadderCounts:
    """Meter events one by one, and return what watches of all partitions say together."""
    partitions = Partitions(directory, partition_count, lambda _account: "UTC")
    watches = [LadderWatch(WAIT_MINUTES) for _ in range(partition_count)]
    for watch, partition in zip(watches, partitions.partitions, strict=True):
        partition.on_step = partial(_show, watch)
    for event in events:
        partitions.append([event])
        partitions.work(Random(1))
    partitions.close()
    counts = [minute.counts for watch in watches for minute in watch.judge(BEGIN + 100_000)]
    return LadderCounts(*map(sum, zip(*counts, strict=True)))


@pytest.mark.parametrize("partition_count", [1, 4])
@pytest.mark.parametrize(
    ("sent_names", "ended_names"), [(ALL, PHONE), (ALL, BSUID), (PHONE, BSUID), (BSUID, PHONE)]
)
def test_a_message_is_one_however_its_events_name_the_user(
    tmp_path: Path, partition_count: int, sent_names: str, ended_names: str
) -> None:
    """Meta leaves the id out of ``failed``: such a message has failed, and is not another one that is silent."""
    events = []
    for user in range(USERS):
        # The names are known to belong together long before.
        events += [
            status("sent", f"a{user}", BEGIN + user, user, ALL),
            status("delivered", f"a{user}", BEGIN + user + 2, user, ALL),
        ]
    for user in range(USERS):
        at = BEGIN + 7200 + user
        events += [
            status("sent", f"b{user}", at, user, sent_names),
            status("failed", f"b{user}", at + 3, user, ended_names),
        ]
    assert judged(tmp_path, partition_count, events) == LadderCounts(2 * USERS, 0, 0, 0)


def heard(message: int, steps: int, at: int) -> Heard:
    """Return what is known of a message that has just begun."""
    return Heard("A", "N", message, steps, at, at)


def test_a_minute_is_judged_once() -> None:
    """What a partition that is hours behind forwards is about messages that were judged, or too late to be followed."""
    watch = LadderWatch(WAIT_MINUTES)
    end_of_wait = BEGIN + 60 + WAIT_MINUTES * 60
    watch.take([heard(1, SENT, BEGIN), heard(2, SENT | DELIVERED, BEGIN + 59)])
    [first] = watch.judge(end_of_wait)
    assert first.counts == LadderCounts(2, 1, 0, 0)
    watch.take([heard(1, SENT | DELIVERED, BEGIN), heard(3, SENT, BEGIN + 30)])
    # The next minute is not over yet.
    watch.take([heard(4, SENT, BEGIN + 60)])
    assert watch.judge(end_of_wait + 15) == []
    [second] = watch.judge(end_of_wait + 60)
    assert (second.minute_at, second.counts) == (BEGIN + 60, LadderCounts(1, 1, 0, 0))
    assert watch.one_in == 1


def test_a_clock_that_goes_back_judges_no_minute_again() -> None:
    """What is judged stays judged; minutes that were not go on."""
    watch = LadderWatch(WAIT_MINUTES)
    watch.take([heard(1, SENT, BEGIN)])
    assert len(watch.judge(BEGIN + 10_000)) == 1
    assert watch.judge(BEGIN) == []
    watch.take([heard(1, SENT, BEGIN)])
    assert watch.judge(BEGIN + 20_000) == []
