"""Who reads which partition, through workers that come and go."""

from __future__ import annotations

from random import Random
from typing import Any, cast

from aiokafka.structs import TopicPartition
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.topics import EVENTS, INPUT_TOPICS, MAU_ALERTS, MAU_COUNTS
from streams.kafka.assignor import EvenAssignor

SINGLES = (*INPUT_TOPICS, MAU_ALERTS)


class Group:
    """A consumer group: members tell the leader what they had, and are told what they get."""

    def __init__(self, partitions: int) -> None:
        self.sizes = {EVENTS: partitions, MAU_COUNTS: partitions, **dict.fromkeys(SINGLES, 1)}
        self.had: dict[str, list[TopicPartition]] = {}
        self._since: dict[str, int] = {}
        self._generation = 0
        self._names = Random(7)

    def topics(self) -> set[str]:
        return set(self.sizes)

    def partitions_for_topic(self, topic: str) -> set[int]:
        return set(range(self.sizes[topic]))

    def join(self, workers: int = 1) -> None:
        """Let workers in who had nothing."""
        self.had |= {f"{self._names.getrandbits(128):032x}": [] for _ in range(workers)}
        self._share_out()

    def leave(self, place: int) -> None:
        """Let the worker go who has been here longest but for so many others."""
        name = list(self.had)[place % len(self.had)]
        del self.had[name]
        self._share_out()

    def _share_out(self) -> None:
        members = {
            name: EvenAssignor._metadata(
                list(self.sizes), had if name in self._since else None, self._since.get(name, -1)
            )
            for name, had in self.had.items()
        }
        self._generation += 1
        for name, assignment in EvenAssignor.assign(cast("Any", self), members).items():
            self.had[name] = assignment.partitions()
            self._since[name] = self._generation

    def shares(self, *topics: str) -> list[int]:
        """Return how many partitions of some topics each worker has, most first."""
        counts = (sum(each.topic in topics for each in had) for had in self.had.values())
        return sorted(counts, reverse=True)

    def owners(self) -> dict[TopicPartition, str]:
        """Return who has each partition; each has one owner."""
        owners = [(each, name) for name, had in self.had.items() for each in had]
        assert len(owners) == len(dict(owners)) == sum(self.sizes.values())
        return dict(owners)


def is_even(shares: list[int]) -> bool:
    """Tell whether nobody has two more than another."""
    return shares[0] - shares[-1] <= 1


def test_a_rolling_restart_leaves_everybody_his_share() -> None:
    """Three workers, each restarted: of twelve partitions each meters four, and nobody only waits."""
    group = Group(12)
    group.join(3)
    for _ in range(3):
        group.leave(0)
        group.join()
    assert group.shares(EVENTS) == group.shares(MAU_COUNTS) == [4, 4, 4]
    assert group.shares(*SINGLES) == [2, 2, 2]


@settings(max_examples=200)
@given(st.integers(1, 24), st.integers(1, 6), st.lists(st.none() | st.integers(0, 5), max_size=8))
def test_shares_are_even_and_few_partitions_move(
    partitions: int, workers: int, changes: list[int | None]
) -> None:
    """However workers join (None) and leave: of each topic nobody has two partitions more than another.

    What a worker has moves only where it has more than its share, or to make up for nobody.
    """
    together = ((EVENTS,), (MAU_COUNTS,), SINGLES) if partitions > 1 else ((EVENTS, MAU_COUNTS, *SINGLES),)
    group = Group(partitions)
    group.join(workers)
    for change in changes:
        before, had = group.owners(), dict(group.had)
        if change is None:
            group.join()
        elif len(group.had) > 1:
            group.leave(change)
        after = group.owners()
        assert all(is_even(group.shares(*topics)) for topics in together)
        moved = [
            each
            for each, owner in before.items()
            if each.topic == EVENTS and owner in group.had and after[each] != owner
        ]
        come = group.had.keys() - had.keys()
        assert len(moved) == sum(each.topic == EVENTS for name in come for each in group.had[name])
