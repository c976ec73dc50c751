"""The product as a judge of worked examples: real processors over real stores, linked identities and all.

Owns how an example gets through the product. Does not own the examples (``tests.oracle.examples``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from random import Random

import msgspec
import pytest

from metering.household import PHONES
from schemas.events import SET_ASIDE, Event
from schemas.rows import CounterKey, Family
from tests.oracle.examples import Judge, MonthCounts, Oracle, Rows, ZoneOf, judged_by
from tests.support.partitions import Partitions

_PARTITIONS = 2


class Product:
    """What several partitions come to. Each question is asked in accounts of its own, over the same partitions."""

    def __init__(self, directory: Path) -> None:
        """Open the partitions in a directory."""
        self._zones: dict[str, str] = {}
        self._questions = 0
        self._partitions = Partitions(directory, _PARTITIONS, lambda account: self._zones[account])

    def totals(self, events: Sequence[Event], time_zone_of: ZoneOf) -> Rows:
        """See ``Judge.totals``."""
        return {key: values for key, values in self._rows(events, time_zone_of).items() if key[-1] != PHONES}

    def people(self, events: Sequence[Event], time_zone_of: ZoneOf) -> MonthCounts:
        """See ``Judge.people``."""
        return months(self._rows(events, time_zone_of), ("any",))

    def phones(self, events: Sequence[Event], time_zone_of: ZoneOf) -> MonthCounts:
        """See ``Judge.phones``."""
        return months(self._rows(events, time_zone_of), ("any", PHONES))

    def close(self) -> None:
        """Close the partitions."""
        self._partitions.close()

    def _rows(self, events: Sequence[Event], time_zone_of: ZoneOf) -> dict[CounterKey, tuple[int, ...]]:
        self._questions += 1
        prefix = f"{self._questions}:"
        for account in {event.account for event in events}:
            self._zones[prefix + account] = time_zone_of(account)
        for event in events:
            self._partitions.append([msgspec.structs.replace(event, account=prefix + event.account)])
        self._partitions.work(Random(self._questions))
        # What no door lets in may be in an example; it counts nowhere. But nothing comes too late.
        refusals = [each for partition in self._partitions.partitions for each in partition.refusals]
        assert not [refusal for refusal in refusals if refusal.reason in SET_ASIDE]
        return {
            (*key[:2], str(key[2])[len(prefix) :], *key[3:]): values
            for key, values in self._partitions.totals().items()
            if str(key[2]).startswith(prefix)
        }


def months(rows: dict[CounterKey, tuple[int, ...]], rules: tuple[str, ...]) -> MonthCounts:
    """Return the sums of active users under some rules by month, account, number and country."""
    result: MonthCounts = {}
    for key, values in rows.items():
        if key[0] == Family.ACTIVE_USERS and key[5] in rules:
            month = str(date(1970, 1, 1) + timedelta(days=int(key[1])))[:7]
            scope = (month, str(key[2]), str(key[3]), str(key[4]))
            result[scope] = result.get(scope, 0) + values[0]
    return {scope: count for scope, count in result.items() if count}


@pytest.fixture(scope="module", params=["oracle", "product"])
def judge(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let the worked examples of a module judge the oracle, and then the product."""
    if request.param == "oracle":
        chosen: Judge = Oracle()
        with judged_by(chosen):
            yield
        return
    product = Product(tmp_path_factory.mktemp("product"))
    with judged_by(product):
        yield
    product.close()
