"""kill -9 between the steps of counts, notices and deliveries: the alert log is the oracle's, each id is there once."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from metering.alert_book import Terms
from metering.charges import PriceData
from schemas.alert_codec import decode_count, decode_notice
from schemas.alerts import MonthCount
from schemas.plan_files import load_plans
from tests.crash.test_node_kill import KILLS, Child, many_histories
from tests.oracle import alerts as oracle
from tests.oracle.strategies import time_zone_of
from tests.oracle.totals import expected_totals
from tests.property.test_alerts import described, expected_log
from tests.support.alerts import REGIMES

ALERT_KILLS = max(12, KILLS // 2)
STEPS = (
    "before-alert-commit",
    "after-alert-commit",
    "before-notify-commit",
    "after-notify-commit",
    "after-commit",
    "before-commit",
)
PACKAGES = (3, 5, 8)
"""Small, so that a few dozen histories cross every threshold, in both directions."""


def write_plans(path: Path, accounts: list[str]) -> None:
    """Write a plan for each account."""
    path.write_text(
        "".join(
            f'[[plans]]\naccount = "{account}"\nactivated = 2010-01-01\nlicence = "none"\ncurrency = "USD"\n'
            f"mau_package = {PACKAGES[place % 3]}\nconversation_budget = 4\n"
            'alert_thresholds = ["50%", "100%", "150%", 2]\n'
            for place, account in enumerate(accounts)
        )
    )


@pytest.mark.timeout(120 + 25 * ALERT_KILLS)
def test_kills_leave_the_alert_log_of_the_oracle(tmp_path: Path, report: Callable[[str], None]) -> None:
    """Dying at random steps while counts are published, judged and told: no notice is lost, none is there twice."""
    seed = int(os.environ.get("CONVOMETER_TEST_SEED", str(Random().randrange(1 << 30))))
    report(f"repeat with CONVOMETER_TEST_SEED={seed}")
    random = Random(seed)
    events = many_histories(max(60, ALERT_KILLS * 6), seed)
    accounts = sorted({event.account for event in events})
    plans = tmp_path / "plans.toml"
    write_plans(plans, accounts)
    child = Child(tmp_path, events)
    hits: Counter[str] = Counter()
    attempts = 0
    while hits.total() < ALERT_KILLS:
        attempts += 1
        assert attempts < ALERT_KILLS * 4, f"too few kills hit: {hits}"
        step = STEPS[attempts % len(STEPS)]
        if child.acknowledged >= len(events):
            child.acknowledged = 0  # send everything again: repeats change no number
        stop = child.acknowledged + 3 * 40
        after = random.choice((1, 1, 2, 3))
        if child.run(die_at=step, die_after=after, stop=stop, plans=str(plans), tell_alerts=True):
            hits[step] += 1
    assert not child.run(finish=True, plans=str(plans), tell_alerts=True)
    counts = [[decode_count(str(value).encode()) for value in own] for own in child.said["counts"]]  # type: ignore[attr-defined]
    notices = [decode_notice(str(value).encode()) for value in child.said["notices"]]
    report(f"{hits.total()} kills, {sum(map(len, counts))} counts, {len(notices)} notices")
    assert min(hits[step] for step in STEPS) > 0
    assert len({notice.id for notice in notices}) == len(notices)
    assert child.said["table"] == sorted(notice.id for notice in notices)
    assert {"crossed", "recovered"} == {notice.kind for notice in notices}
    terms = Terms(PriceData(REGIMES, plans=load_plans(plans)))
    for own in counts:
        scopes = {(count.account, count.number) for count in own}
        told = [described(notice) for notice in notices if (notice.account, notice.number) in scopes]
        assert told == expected_log(own, terms)
    assert newest_of(counts) == oracle.month_totals(expected_totals(events, time_zone_of))


def newest_of(counts: list[list[MonthCount]]) -> dict[oracle.Scope, oracle.Totals]:
    """Return the sums of the newest counts."""
    newest = {
        (count.account, count.number, count.month, count.partition): count.totals
        for own in counts
        for count in own
    }
    sums: dict[oracle.Scope, list[int]] = {}
    for (account, number, month, _), totals in newest.items():
        known = sums.setdefault((account, number, month), [0] * 5)
        sums[account, number, month] = [one + other for one, other in zip(known, totals, strict=True)]
    return {scope: (a, b, c, d, e) for scope, (a, b, c, d, e) in sums.items() if any((a, b, c, d, e))}
