"""Linked identities (metering.md §7) over several partitions, against an oracle that knows all events from the start.

The partitions are real processors over real stores; what they tell each other goes through logs. Crashes lose the
memory of a partition before or after any commit, those around a move included.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.household import PHONES
from schemas.events import Event
from schemas.rows import CounterKey
from tests.oracle.identity_strategies import identity_histories
from tests.oracle.people import expected_people, expected_phones
from tests.oracle.strategies import shuffled_and_duplicated, time_zone_of
from tests.oracle.totals import expected_totals
from tests.support.judges import months
from tests.support.partitions import Partitions

HISTORIES = int(os.environ.get("CONVOMETER_TEST_HISTORIES", "400"))
SETTINGS = settings(
    max_examples=HISTORIES, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)
Rows = dict[CounterKey, tuple[int, ...]]


def counted(events: list[Event], seed: int, partition_count: int, crash_share: float) -> Rows:
    """Return the rows that several partitions come to, fed in random cuts while they work."""
    random = Random(seed)
    with tempfile.TemporaryDirectory() as directory:
        partitions = Partitions(Path(directory), partition_count, time_zone_of)
        position = 0
        while position < len(events):
            cut = random.choice((1, 1, 2, 5, 25))
            partitions.append(events[position : position + cut])
            position += cut
            if random.random() < 0.5:
                random.choice(partitions.partitions).work(random, crash_share=crash_share)
        partitions.work(random, crash_share=crash_share)
        rows = partitions.totals()
        partitions.close()
    return rows


@SETTINGS
@given(history=identity_histories(), seed=st.integers(0, 2**32), partition_count=st.sampled_from((1, 2, 5)))
def test_identities_in_any_order_equal_an_oracle_that_knew_them(
    history: list[Event], seed: int, partition_count: int
) -> None:
    """Whenever and wherever it becomes known who is who, the totals are as if that had been known at first."""
    rows = counted(shuffled_and_duplicated(history, seed), seed, partition_count, crash_share=0.05)
    people = {key: values for key, values in rows.items() if key[-1] != PHONES}
    assert people == expected_totals(history, time_zone_of)
    assert months(rows, ("any",)) == expected_people(history, time_zone_of)
    assert months(rows, ("any", PHONES)) == expected_phones(history, time_zone_of)
