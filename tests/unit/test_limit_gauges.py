"""Gauges of limits beside a worker: what is used goes on whatever the forecasts do, and what of these is shown."""

from __future__ import annotations

import asyncio
from datetime import datetime

import pytest

from tests.support.limit_gauges import Bench, use_of


def test_what_is_used_waits_for_no_forecast() -> None:
    """ClickHouse hangs from the start on: what is used shows at once and goes on, and one question is under way."""
    bench = Bench()
    bench.use(800)
    bench.answer = lambda _asked: [use_of()]

    async def over() -> None:
        bench.answering.clear()
        await bench.until(lambda: bench.shown("limit_used_ratio") == 0.8)
        for used in (900, 1000):
            bench.use(used)
            bench.clock.advance(3_600_000)
            await bench.until_used(used)
        assert (bench.projected(), len(bench.asked)) == ([None] * 3, 1)
        bench.answering.set()
        await bench.until(lambda: bench.projected() == [1.0, 1.0, 1.1])

    bench.run(over())


def test_nothing_is_left_running_when_it_is_stopped_meanwhile() -> None:
    """The question under way is given up with the rest."""
    bench = Bench()
    bench.use(800)

    async def over() -> None:
        bench.answering.clear()
        await bench.until(lambda: len(bench.asked) == 1)

    bench.run(over())


def test_a_forecast_is_never_below_what_is_used() -> None:
    """What was counted since it was made can only have made it more."""
    bench = Bench()
    bench.use(850)
    bench.answer = lambda _asked: [use_of(projected_low=None)]

    async def over() -> None:
        await bench.until(lambda: bench.projected() == [None, 0.9, 1.1])
        bench.use(1050)
        await bench.until(lambda: bench.projected() == [None, 1.05, 1.1])

    bench.run(over())


def test_a_forecast_of_another_month_is_not_shown() -> None:
    """At the month's change the old one lies beside the new count, until it is asked for again."""
    bench = Bench()
    bench.use(850)
    bench.answer = lambda _asked: [use_of(exhausted_on="2026-11-28")]

    async def over() -> None:
        await bench.until(lambda: bench.projected() == [0.85, 0.9, 1.1])
        bench.judging.judged.clear()
        bench.use(3, month="2026-12")
        await bench.until_used(3)
        assert bench.projected() == [None] * 3
        assert bench.shown("limit_exhausted_timestamp_seconds") is None
        bench.answer = lambda _asked: [use_of(month="2026-12", projected=70, projected_low=60)]
        await bench.asked_again()
        assert bench.projected() == [0.06, 0.07, 1.1]

    bench.run(over())


def exhausted(zone: object, day: str | None) -> float | None:
    """Return when the gauges say that the last of a limit is used."""
    bench = Bench(zone=zone)
    bench.use(850)
    bench.answer = lambda _asked: [use_of(exhausted_on=day)]

    async def over() -> None:
        await bench.until(lambda: bench.shown("limit_projected_ratio", bound="low") is not None)

    bench.run(over())
    return bench.shown("limit_exhausted_timestamp_seconds")


@pytest.mark.parametrize(
    ("zone", "day", "end"),
    [
        ("UTC", "2026-11-24", "2026-11-25T00:00"),
        ("Europe/Berlin", "2026-11-24", "2026-11-24T23:00"),
        ("Europe/Berlin", "2026-03-28", "2026-03-28T23:00"),
        ("Europe/Berlin", "2026-03-29", "2026-03-29T22:00"),
        ("Europe/Berlin", "2026-10-25", "2026-10-25T23:00"),
        ("America/Sao_Paulo", "2026-11-30", "2026-12-01T03:00"),
        ("Pacific/Pago_Pago", "2026-11-30", "2026-12-01T11:00"),
        ("Pacific/Kiritimati", "2026-11-30", "2026-11-30T10:00"),
        # Its clocks are put back between that midnight and UTC's.
        ("Pacific/Auckland", "2026-04-04", "2026-04-04T11:00"),
        # It has no midnight that day: from 24:00 it is 1:00.
        ("America/Santiago", "2026-09-05", "2026-09-06T04:00"),
        # The account moves with the month.
        (
            [{"zone": "Asia/Tokyo"}, {"from": "2026-12", "zone": "America/Lima"}],
            "2026-12-01",
            "2026-12-02T05:00",
        ),
    ],
)
def test_a_day_ends_where_the_account_is(zone: object, day: str, end: str) -> None:
    """At its own midnight, also when clocks are changed."""
    assert exhausted(zone, day) == datetime.fromisoformat(f"{end}+00:00").timestamp()


def test_a_limit_that_lasts_has_no_end() -> None:
    """Absent, not zero."""
    assert exhausted("UTC", None) is None


def test_free_messages_that_nobody_used_are_left_out() -> None:
    """Every number has some: they would take the gauges of others, and the forecasts too."""
    bench = Bench()
    bench.use(0, name="free_service")
    bench.use(0, account="B", name="free_service")
    bench.use(7, account="C", name="free_service")
    bench.use(0)

    async def over() -> None:
        await bench.until(lambda: len(bench.asked) == 1)
        assert bench.shown("limit_used") == 0
        used = {account: bench.shown("limit_used", account, "free_service") for account in "ABC"}
        assert used == {"A": None, "B": None, "C": 7}
        assert bench.asked[0].accounts == ("A",)

    bench.run(over())


def test_a_plan_without_a_package_has_no_gauges() -> None:
    """Its users are of no package: no share of it is used, none is forecast, and nobody's place is taken."""
    bench = Bench(limits_max=1)
    bench.use(1, limit=0)
    bench.use(7, account="B")

    async def over() -> None:
        await bench.until(lambda: len(bench.asked) == 1)
        assert bench.shown("limit_used", "B") == 7
        assert (bench.shown("limit"), bench.shown("limit_used_ratio")) == (None, None)
        assert bench.asked[0].accounts == ("B",)

    bench.run(over())


def test_a_fault_of_what_is_shown_ends_it() -> None:
    """Gauges that stand still would be believed: whoever runs them learns of it."""
    bench = Bench()

    async def over() -> None:
        bench.judging.fault = TypeError("a fault of ours")
        with pytest.raises(TypeError, match="a fault of ours"):
            await bench.gauges.run(bench.worker)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(over())
