"""How far the forecast of a month's active users is off, on months that are generated and held back.

``python -m bench.forecast`` prints the table of docs/guides/forecast.md. Each account lives four months and a fifth
that is held back from a point on; users are real sets, so that a user counts once a month. ``--tune`` shows the same of
other accounts, for setting the constants.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from random import Random

from metering.calendar import days_of, last_day_of, month_after
from metering.courses import DailyCounts
from metering.forecast import BurnDown, burn_down

MONTHS = 5
SHARES = (0.1, 0.2, 0.35, 0.5, 0.65, 0.8)
ACCOUNTS_A_SHAPE = 40
FIRST = date(2026, 2, 1)
LIMIT_SHARE = 0.9
"""The package is this share of what the month comes to, so that there is a day on which it is used up."""
ROOMY_SHARE = 1.05
"""Another package is this share of it: it lasts, and who says that it does not gives a false alarm."""
BEGAN_LATE = "began mid-month"
"""A shape of accounts that began in one of the two months before the one that is held back."""


@dataclass(frozen=True)
class Account:
    """Five months of an account, by day."""

    shape: str
    months: tuple[tuple[date, DailyCounts], ...]


Rates = Callable[[Random], list[float]]
Day = Callable[[date, int, Random], float]
"""Gives how busy a day is, 1 = as usual; the second argument is the number of days since the beginning."""


def even_rates(random: Random) -> list[float]:
    """A finite pool in which all are much alike."""
    rate = random.uniform(0.03, 0.2)
    return [rate * random.uniform(0.5, 1.5) for _ in range(random.randint(300, 3000))]


def heavy_rates(random: Random) -> list[float]:
    """Few who come daily, many who come once a year."""
    return [min(2.0, 0.01 * random.paretovariate(0.9)) for _ in range(random.randint(1000, 6000))]


def either_rates(random: Random) -> list[float]:
    """One of the two."""
    return random.choice((even_rates, heavy_rates))(random)


def small_pool(random: Random) -> list[float]:
    """A tiny account."""
    return [random.uniform(0.02, 0.3) for _ in range(random.randint(15, 60))]


def small_heavy(random: Random) -> list[float]:
    """A tiny account most of whose users come once a year."""
    return heavy_rates(random)[: random.randint(50, 200)]


def steady(_day: date, _number: int, random: Random) -> float:
    """Days that differ by chance."""
    return random.uniform(0.8, 1.2)


def weekdays(day: date, _number: int, random: Random) -> float:
    """A business that rests at weekends."""
    return random.uniform(0.8, 1.2) if day.weekday() < 5 else 0.05


def campaigns(day: date, _number: int, random: Random) -> float:
    """Bursts on some days, each month on about the same ones."""
    return 6.0 if day.day in (5, 6, 20) else random.uniform(0.5, 0.9)


def wild_campaigns(_day: date, _number: int, random: Random) -> float:
    """Bursts on days that nobody could know, one of nine."""
    return 8.0 if random.randrange(9) == 0 else random.uniform(0.5, 0.9)


def growing(_day: date, number: int, random: Random) -> float:
    """A fifth more a month."""
    return float(random.uniform(0.8, 1.2) * 1.006**number)


def shrinking(_day: date, number: int, random: Random) -> float:
    """A sixth less a month."""
    return float(random.uniform(0.8, 1.2) * 0.994**number)


def seasonal(day: date, _number: int, random: Random) -> float:
    """Slow waves over the months."""
    return random.uniform(0.8, 1.2) * (1 + 0.4 * math.sin(day.toordinal() / 365 * 4 * math.pi))


SHAPES: dict[str, tuple[Rates, Day]] = {
    "finite pool": (even_rates, steady),
    "heavy tail": (heavy_rates, steady),
    "weekdays only": (even_rates, weekdays),
    "known campaigns": (heavy_rates, campaigns),
    "sudden campaigns": (heavy_rates, wild_campaigns),
    "growing": (heavy_rates, growing),
    "shrinking": (even_rates, shrinking),
    "seasonal": (heavy_rates, seasonal),
    "tiny": (small_pool, steady),
    "tiny, heavy tail": (small_heavy, steady),
    BEGAN_LATE: (either_rates, steady),
}


def account_of(shape: str, seed: int) -> Account:
    """Return an account: who is active is drawn by user and day, and counted on the first day of a month."""
    random = Random(f"{shape} {seed}")
    make_rates, busy = SHAPES[shape]
    rates = make_rates(random)
    began = beginning_of(shape, random)
    months: list[tuple[date, DailyCounts]] = []
    first = FIRST
    for _ in range(MONTHS):
        counts: Counter[date] = Counter()
        days = days_of(first)
        busyness = [busy(day, (day - FIRST).days, random) if day >= began else 0.0 for day in days]
        for rate in rates:
            day = first_active(rate, days, busyness, random)
            if day is not None:
                counts[day] += 1
        months.append((first, dict(counts)))
        first = month_after(first)
    return Account(shape, tuple(months))


def beginning_of(shape: str, random: Random) -> date:
    """Return the first day of an account: any but the 1st, so that one or two months precede the one held back."""
    if shape != BEGAN_LATE:
        return FIRST
    first = FIRST
    for _ in range(MONTHS - 1 - random.choice((1, 2))):
        first = month_after(first)
    return first + timedelta(days=random.randrange(1, (last_day_of(first) - first).days + 1))


def first_active(rate: float, days: Sequence[date], busyness: Sequence[float], random: Random) -> date | None:
    """Return the first day of a month on which somebody is active who comes at this rate a day."""
    patience = random.expovariate(1.0)
    for day, busy in zip(days, busyness, strict=True):
        patience -= rate * busy
        if patience <= 0:
            return day
    return None


@dataclass(frozen=True)
class Verdict:
    """One forecast beside what came."""

    error: float
    """Relative, of the month's end."""
    is_inside: bool
    line_error: float
    """Of an even pace."""
    is_ahead: bool
    """The day on which the package was used up was still to come."""
    days_off: int | None
    """Of that day; None = it was not ahead, or no day was named."""
    is_day_inside: bool
    """It was ahead and within the days that belong to the range."""
    is_false_alarm: bool
    """A package that lasted was said not to."""


def verdict_of(account: Account, share: float, earlier_count: int) -> Verdict | None:
    """Hold the last month back from a point on, forecast it, and look."""
    month, counts = account.months[-1]
    truth = sum(counts.values())
    length = (last_day_of(month) - month).days + 1
    elapsed = round(share * length)
    known = {day: count for day, count in counts.items() if (day - month).days < elapsed}
    earlier = [counts for _, counts in reversed(account.months[:-1])][:earlier_count]
    limit = max(1, round(truth * LIMIT_SHARE))
    now = datetime.combine(month, datetime.min.time()) + timedelta(days=elapsed)
    state = burn_down(limit, known, earlier, month, now)
    if state.projected is None or not truth:
        return None
    assert state.projected_low is not None
    assert state.projected_high is not None
    day = exhausted_on(counts, limit)
    is_ahead = day >= now.date()
    return Verdict(
        abs(state.projected - truth) / truth,
        state.projected_low <= truth <= state.projected_high,
        abs(sum(known.values()) * length / elapsed - truth) / truth,
        is_ahead,
        abs((state.exhausted_on - day).days) if is_ahead and state.exhausted_on else None,
        is_ahead and is_within(day, state),
        state.projected >= max(truth + 1, round(truth * ROOMY_SHARE)),
    )


def is_within(day: date, state: BurnDown) -> bool:
    """Tell whether a day is in the range that was given for it; one without a last day goes to the month's end."""
    return state.exhausted_from is not None and state.exhausted_from <= day <= (state.exhausted_to or day)


def exhausted_on(counts: DailyCounts, limit: int) -> date:
    """Return the day on which a limit was reached."""
    total = 0
    for day in sorted(counts):
        total += counts[day]
        if total >= limit:
            return day
    raise AssertionError("the limit is below the month's number")


COLUMNS = (
    "shape",
    "known",
    "months",
    "median error",
    "p90 error",
    "in the range",
    "day ahead",
    "days off",
    "said it lasts",
    "day in range",
    "false alarms at 105 %",
    "even pace, median error",
)


def table(accounts: Sequence[Account], earlier_count: int) -> Iterator[str]:
    """Yield the lines of a table: shape by share of the month that is known."""
    yield line(COLUMNS)
    yield "|---" * len(COLUMNS) + "|"
    for shape in (*SHAPES, "all"):
        own = [account for account in accounts if shape in (account.shape, "all")]
        for share in SHARES:
            found = [verdict for each in own if (verdict := verdict_of(each, share, earlier_count))]
            yield line((shape, f"{share:.0%}", *figures(found)))


def line(cells: Iterable[str]) -> str:
    """Return a line of a table."""
    return f"| {' | '.join(cells)} |"


def figures(found: Sequence[Verdict]) -> Iterator[str]:
    """Yield the cells of a line, from "months" on."""
    errors = sorted(each.error for each in found)
    ahead = [each for each in found if each.is_ahead]
    days = [each.days_off for each in ahead if each.days_off is not None]
    yield str(len(found))
    yield f"{statistics.median(errors):.1%}"
    yield f"{errors[int(0.9 * (len(errors) - 1))]:.1%}"
    yield share_of(each.is_inside for each in found)
    yield str(len(ahead))
    yield f"{statistics.median(days):g}" if days else "-"
    yield share_of(each.days_off is None for each in ahead)
    yield share_of(each.is_day_inside for each in ahead)
    yield share_of(each.is_false_alarm for each in found)
    yield f"{statistics.median(each.line_error for each in found):.1%}"


def share_of(verdicts: Iterable[bool]) -> str:
    """Return how many are true of those that there are."""
    all_of_them = list(verdicts)
    return f"{sum(all_of_them) / len(all_of_them):.0%}" if all_of_them else "-"


def main() -> None:
    """Print the tables."""
    begin = 10_000 if "--tune" in sys.argv else 0
    accounts = [account_of(shape, begin + number) for shape in SHAPES for number in range(ACCOUNTS_A_SHAPE)]
    for earlier_count, title in ((3, "Three months before"), (1, "One month before"), (0, "No month before")):
        sys.stdout.write(f"\n{title}\n\n" + "\n".join(table(accounts, earlier_count)) + "\n")


if __name__ == "__main__":
    main()
