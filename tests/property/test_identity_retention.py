"""Linked identities over months, with state dropped on the way: forgetting changes no number of linked users either."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from random import Random

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.household import PHONES
from schemas.events import Event
from tests.oracle.people import expected_phones
from tests.oracle.strategies import time_zone_of
from tests.oracle.totals import expected_totals
from tests.property.test_retention import in_arrival_order, months_of_history, within_retention
from tests.support.judges import months
from tests.support.partitions import Partitions

HISTORIES = max(1, int(os.environ.get("CONVOMETER_TEST_HISTORIES", "400")) // 8)
SETTINGS = settings(
    max_examples=HISTORIES, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)
_WAYS = ((True, False), (False, True), (True, True))


def named_in_turns(history: list[Event], random: Random, *, recycled: bool) -> list[Event]:
    """Let the users of a history appear by phone, by BSUID or by both, the pair being seen at the very beginning.

    With ``recycled``, the first user's phone is the second's from the middle on, and both are seen with their own
    names there.
    """
    start = min(event.occurred_at for event in history)
    middle = (start + max(event.occurred_at for event in history)) // 2
    keys = sorted({event.user_key for event in history})
    names = {key: (f"4917{place:08d}", f"DE.{place}") for place, key in enumerate(keys)}
    result: list[Event] = []
    for event in history:
        phone, bsuid = names[event.user_key]
        by_phone, by_bsuid = random.choice(_WAYS)
        if recycled and event.occurred_at >= middle:
            # Who had the phone has it no longer, and who has it now is seen with it every time.
            phone = names[keys[0]][0]
            by_phone, by_bsuid = (event.user_key != keys[0], True)
        result.append(
            msgspec.structs.replace(
                event,
                user_phone=phone if by_phone else None,
                user_bsuid=bsuid if by_bsuid else None,
                participant=None,
                message_id=f"{event.user_key}-{event.message_id}",
            )
        )
    for place, (phone, bsuid) in enumerate(names.values()):
        first = msgspec.structs.replace(
            history[0],
            kind="sent",
            message_id=f"first-{place}",
            occurred_at=start,
            received_at=start * 1000,
            user_phone=phone,
            user_bsuid=bsuid,
            participant=None,
        )
        result.append(first)
    return result


@SETTINGS
@given(seed=st.integers(0, 2**32), recycled=st.booleans())
def test_dropping_state_of_linked_users_changes_no_number(seed: int, recycled: bool) -> None:
    """Two months in order of arrival, swept and crashed on the way, end in what an oracle without limits says."""
    random = Random(seed)
    history = within_retention(months_of_history(seed))
    history = named_in_turns(history, random, recycled=recycled) if history else []
    with tempfile.TemporaryDirectory() as directory:
        partitions = Partitions(Path(directory), 3, time_zone_of)
        for event in in_arrival_order(history, random):
            partitions.append([event])
            if random.random() < 0.3:
                partitions.work(random, sweep_share=0.3, crash_share=0.03)
        partitions.work(random, sweep_share=0.3, crash_share=0.03)
        refusals = [refusal for partition in partitions.partitions for refusal in partition.refusals]
        assert not refusals
        rows = partitions.totals()
        partitions.close()
    assert {key: values for key, values in rows.items() if key[-1] != PHONES} == expected_totals(
        history, time_zone_of
    )
    assert months(rows, ("any", PHONES)) == expected_phones(history, time_zone_of)
