"""Who reads which partition: as few move as can be, and every worker has its share of the work.

aiokafka's sticky assignor counts partitions of all topics alike. Ours are not: one of ``events`` is metering, one of an
input topic may never get a record. After a rolling restart of three workers it left one without any of twelve
partitions of ``events``, and another with eight.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import cast

from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.sticky.sticky_assignor import (
    StickyAssignmentExecutor,
    StickyAssignorMemberMetadataV1,
    StickyPartitionAssignor,
)
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata


class EvenAssignor(StickyPartitionAssignor):  # type: ignore[misc]  # aiokafka has no types here
    """The sticky assignor for each topic by itself; topics of one partition are shared out together.

    On the wire it is aiokafka's, name and all, so that workers of an earlier release can be in the same group: the one
    that leads the group decides.
    """

    @classmethod
    def assign(
        cls, cluster: ClusterMetadata, members: Mapping[str, ConsumerProtocolMemberMetadata]
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        """Return what each member reads.

        Args:
            cluster: with the number of partitions of each topic.
            members: what each member subscribes to and had before, by its id.
        """
        known = {member: cls.parse_member_metadata(metadata) for member, metadata in members.items()}
        found: dict[str, list[tuple[str, list[int]]]] = {member: [] for member in members}
        for topics in _shared_out_together(
            cluster, {name for each in known.values() for name in each.subscription}
        ):
            part = cast("ClusterMetadata", _Part(cluster, topics))
            executor = StickyAssignmentExecutor(
                part, {name: _only(each, topics) for name, each in known.items()}
            )
            executor.perform_initial_assignment()
            executor.balance()
            for member in members:
                found[member] += executor.get_final_assignment(member)
        return {
            member: ConsumerProtocolMemberAssignment(cls.version, sorted(assigned), b"")
            for member, assigned in found.items()
        }


class _Part:
    """Some topics of a cluster, as far as the sticky assignor asks for them."""

    def __init__(self, cluster: ClusterMetadata, topics: Set[str]) -> None:
        self._topics = topics
        self.partitions_for_topic = cluster.partitions_for_topic

    def topics(self) -> Set[str]:
        return self._topics


def _shared_out_together(cluster: ClusterMetadata, topics: Set[str]) -> Iterator[Set[str]]:
    """Yield each topic of several partitions, and those of one partition (or not known yet) as one."""
    several = {topic for topic in topics if len(cluster.partitions_for_topic(topic) or ()) > 1}
    for topic in sorted(several):
        yield {topic}
    yield topics - several


def _only(member: StickyAssignorMemberMetadataV1, topics: Set[str]) -> StickyAssignorMemberMetadataV1:
    return StickyAssignorMemberMetadataV1(
        partitions=[place for place in member.partitions if place.topic in topics],
        generation=member.generation,
        subscription=[topic for topic in member.subscription if topic in topics],
    )
