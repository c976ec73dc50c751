"""Topics on Kafka: made as they have to be, and looked at for what would lose or miscount something.

Owns the configuration of topics. Changes no topic that exists: that is the operator's decision, and ``doctor`` says
which command does it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code

from schemas.topics import INPUT_TOPICS, TopicSpec
from streams.kafka.connection import MESSAGE_BYTES_MAX, KafkaConnection

TOMBSTONE_SECONDS = 7 * 86_400
"""How long a changelog keeps the removal of a key: local state that was away longer is built anew."""
_MADE_SECONDS_MAX = 30.0


@dataclass(frozen=True, slots=True)
class TopicFault:
    """A topic that is not as it has to be."""

    topic: str
    found: str
    expected: str
    fatal: bool
    """It would lose or miscount something, so nothing starts before it is mended."""
    remedy: str

    def __str__(self) -> str:
        """Return one line: what, and what to do."""
        return f"topic {self.topic}: found {self.found}, expected {self.expected}; {self.remedy}"


class TopicsUnfit(ValueError):
    """Topics exist in a way that would lose or miscount something; names all of them and what to do."""

    def __init__(self, faults: Sequence[TopicFault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = tuple(faults)


def topic_config(spec: TopicSpec, min_insync_replicas: int) -> dict[str, str]:
    """Return the configuration that a topic is made with."""
    config = {
        "cleanup.policy": spec.policy,
        "max.message.bytes": str(MESSAGE_BYTES_MAX),
        "min.insync.replicas": str(min_insync_replicas),
        # The time of a record is when it was appended or sent by us; a wrong clock of a producer must not let
        # the broker delete a new record.
        "message.timestamp.type": "LogAppendTime" if spec.policy == "delete" else "CreateTime",
        # A record that was acknowledged must not be lost to an election.
        "unclean.leader.election.enable": "false",
    }
    if spec.policy == "compact":
        config["delete.retention.ms"] = str(TOMBSTONE_SECONDS * 1000)
    else:
        retention_ms = -1 if spec.retention_seconds < 0 else spec.retention_seconds * 1000
        config["retention.ms"] = str(retention_ms)
        config["retention.bytes"] = "-1"
    return config


async def declare(
    admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec], connection: KafkaConnection
) -> None:
    """Make the topics that are missing, and check those that are there.

    Raises:
        TopicsUnfit: a topic exists in a way that would lose or miscount something.
        KafkaError: a topic could not be made; the message is the broker's.
    """
    known = await partition_counts(admin, [connection.topic(spec.name) for spec in specs])
    missing = [spec for spec in specs if connection.topic(spec.name) not in known]
    if missing:
        await _make(admin, missing, connection)
    faults = [fault for fault in await check(admin, specs, connection) if fault.fatal]
    if faults:
        raise TopicsUnfit(faults)


async def _make(admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec], connection: KafkaConnection) -> None:
    topics = [
        NewTopic(
            connection.topic(spec.name),
            spec.partitions,
            connection.replication_factor,
            topic_configs=topic_config(spec, connection.min_insync_replicas),
        )
        for spec in specs
    ]
    response = await admin.create_topics(topics)
    for name, code, reason in response.topic_errors:
        # Another process of ours may have been faster.
        if code not in (0, TopicAlreadyExistsError.errno):
            raise for_code(code)(f"topic {name} could not be made: {reason}")
    deadline = asyncio.get_running_loop().time() + _MADE_SECONDS_MAX
    while len(await partition_counts(admin, [topic.name for topic in topics])) < len(topics):
        if asyncio.get_running_loop().time() > deadline:
            raise TimeoutError("Kafka made the topics, but shows no leader for their partitions")
        await asyncio.sleep(0.1)


async def partition_counts(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, int]:
    """Return the number of partitions of those topics that are there, with a leader for each partition."""
    described = await admin.describe_topics(list(names))
    return {
        topic["topic"]: len(topic["partitions"])
        for topic in described
        if topic["error_code"] == 0 and all(p["error_code"] == 0 for p in topic["partitions"])
    }


async def configs(admin: AIOKafkaAdminClient, names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the configuration of topics, by name."""
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    found: dict[str, dict[str, str]] = {}
    for response in await admin.describe_configs(resources):
        for code, reason, _, name, entries in response.resources:
            if code == UnknownTopicOrPartitionError.errno:
                continue
            if code:
                raise for_code(code)(f"the configuration of topic {name} cannot be read: {reason}")
            found[name] = {entry[0]: entry[1] for entry in entries}
    return found


async def check(
    admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec], connection: KafkaConnection
) -> list[TopicFault]:
    """Return what is not as it has to be, of the topics that are there."""
    counts = await partition_counts(admin, [connection.topic(spec.name) for spec in specs])
    present = [spec for spec in specs if connection.topic(spec.name) in counts]
    found = await configs(admin, counts)
    faults: list[TopicFault] = []
    for spec in present:
        name = connection.topic(spec.name)
        faults += _count_faults(spec, name, counts[name])
        config = found.get(name, {})
        if spec.name in INPUT_TOPICS:
            # The platform teams' own, but compaction would take away what has not been read.
            config = {key: value for key, value in config.items() if key == "cleanup.policy"}
        faults += _config_faults(name, topic_config(spec, connection.min_insync_replicas), config)
    return faults


def _count_faults(spec: TopicSpec, name: str, count: int) -> list[TopicFault]:
    # The input topics are the platform teams' own: any number will do.
    if count == spec.partitions or spec.name in INPUT_TOPICS:
        return []
    remedy = (
        f"set partitions = {count} if the installation was started with that; the number can never change, as every "
        "user's state lies in one partition"
    )
    return [TopicFault(name, f"{count} partitions", str(spec.partitions), True, remedy)]


def _config_faults(topic: str, expected: Mapping[str, str], found: Mapping[str, str]) -> list[TopicFault]:
    faults: list[TopicFault] = []
    for name, value in expected.items():
        actual = found.get(name)
        if actual is None or _good_enough(name, actual, value):
            continue
        # Deleting state, or compacting events away: nothing may start on that.
        fatal = name == "cleanup.policy"
        remedy = (
            f"kafka-configs.sh --alter --entity-type topics --entity-name {topic} --add-config {name}={value}"
        )
        faults.append(TopicFault(topic, f"{name}={actual}", value, fatal, remedy))
    return faults


def _good_enough(name: str, actual: str, expected: str) -> bool:
    """Tell whether a value does at least what is needed."""
    if name in ("cleanup.policy", "message.timestamp.type", "unclean.leader.election.enable"):
        return actual == expected
    found, needed = int(actual), int(expected)
    # -1 means no limit.
    return found < 0 or (needed >= 0 and found >= needed)
