"""Forecasts for the gauges of limits: who is asked about, when, and what stays when there is no answer."""

from __future__ import annotations

import asyncio

import pytest

from metering.limits import LimitUse
from schemas.plan_files import PlanFaults
from sinks.billing import LimitsAsked
from sinks.clickhouse.client import ClickHouseAway
from tests.support.limit_gauges import Bench, use_of


@pytest.mark.parametrize(
    ("fault", "level"),
    [
        (ClickHouseAway("no answer"), "WARNING"),
        (PlanFaults("plans.toml", ["no such currency"]), "WARNING"),
        (TypeError("a fault of ours"), "ERROR"),
    ],
)
def test_without_an_answer_the_old_forecasts_stay(
    fault: Exception, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Said once; what is used goes on, it is asked again, and what is answered then is shown."""
    bench = Bench()
    bench.use(850)

    def fail(_asked: LimitsAsked) -> list[LimitUse]:
        raise fault

    async def over() -> None:
        for projected in (900, 950):
            bench.answer = lambda _asked: [use_of(projected=projected)]  # noqa: B023 - is called in this round
            await bench.asked_again()
            assert bench.shown("limit_projected_ratio", bound="expected") == projected / 1000
            bench.answer = fail
            for used in (860, 870, 850):
                await bench.asked_again()
                bench.use(used)
                await bench.until_used(used)
            assert bench.shown("limit_projected_ratio", bound="expected") == projected / 1000

    bench.run(over())
    said = [(record.levelname, record.exc_info is not None) for record in caplog.records]
    assert said == [(level, level == "ERROR")] * 2
    assert all("forecasts as they were" in record.message for record in caplog.records)


def test_many_accounts_are_asked_about_in_turns() -> None:
    """A few at a time, one question after the other, each account once in its time."""
    bench = Bench()
    accounts = [f"{number:03d}" for number in range(120)]
    for account in accounts:
        bench.use(500, account)
    bench.answer = lambda asked: [use_of(account) for account in asked.accounts]

    async def over() -> None:
        await bench.until(lambda: bench.shown("limit_projected_ratio", "119", bound="expected") == 0.9)
        await asyncio.sleep(0.01)
        assert [len(asked.accounts) for asked in bench.asked] == [50, 50, 20]
        assert sorted(account for asked in bench.asked for account in asked.accounts) == accounts
        await bench.asked_again()
        await bench.until(lambda: len(bench.asked) == 6)

    bench.run(over())


def test_slow_answers_keep_no_account_from_its_turn() -> None:
    """The first are due again before the last were asked about: whoever waited for longest comes next."""
    bench = Bench()
    for number in range(120):
        bench.use(500, f"{number:03d}")

    def answer(asked: LimitsAsked) -> list[LimitUse]:
        bench.clock.advance(301_000)
        return [use_of(account) for account in asked.accounts]

    bench.answer = answer

    async def over() -> None:
        await bench.until(lambda: bench.shown("limit_projected_ratio", "119", bound="expected") == 0.9)

    bench.run(over())


def test_a_fault_about_some_accounts_keeps_no_others_from_their_turn() -> None:
    """Their question comes next all the same."""
    bench = Bench()
    for number in range(60):
        bench.use(500, f"{number:02d}")

    def answer(asked: LimitsAsked) -> list[LimitUse]:
        if "00" in asked.accounts:
            raise TypeError("a fault of ours")
        return [use_of(account) for account in asked.accounts]

    bench.answer = answer

    async def over() -> None:
        await bench.until(lambda: bench.shown("limit_projected_ratio", "59", bound="expected") == 0.9)
        assert bench.shown("limit_projected_ratio", "00", bound="expected") is None

    bench.run(over())


def test_only_what_is_shown_is_forecast() -> None:
    """Beyond the bound nobody would see it; whoever comes within it is asked about at once."""
    bench = Bench(limits_max=2)
    for account, used in (("A", 10), ("B", 500), ("C", 900)):
        bench.use(used, account)
    bench.answer = lambda asked: [use_of(account) for account in asked.accounts]

    async def over() -> None:
        await bench.until(lambda: bench.shown("limit_projected_ratio", "C", bound="expected") == 0.9)
        assert [asked.accounts for asked in bench.asked] == [("B", "C")]
        bench.use(600, "A")
        await bench.until(lambda: bench.shown("limit_projected_ratio", "A", bound="expected") == 0.9)
        assert [asked.accounts for asked in bench.asked] == [("B", "C"), ("A",)]

    bench.run(over())
