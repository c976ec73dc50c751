"""The brokers that other tests stand on: they do transactions, and outlive the loss of one of three."""

from __future__ import annotations

import asyncio
import itertools
import signal
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.support.kafka_broker import KafkaCluster, KafkaFailed
from tests.support.kafka_process import is_free

_numbers: Final = itertools.count(1)
_KILLED_OWNER: Final = """
import os, pathlib, signal, sys
from tests.support.kafka_broker import KafkaCluster

cluster = KafkaCluster.start(pathlib.Path(sys.argv[1]))
cluster.suspend(0)
print(cluster.bootstrap, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
_RECORDS: Final = [f"record {i}".encode() for i in range(200)]


async def _make_topic(kafka: KafkaCluster, replicas: int = 1) -> str:
    """Create a topic of one partition under a name that no other test has."""
    name = f"broker-test-{next(_numbers)}"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        answer = await admin.create_topics([NewTopic(name, num_partitions=1, replication_factor=replicas)])
    finally:
        await admin.close()
    assert [error[1] for error in answer.topic_errors] == [0]
    return name


async def _read(kafka: KafkaCluster, topic: str, count: int) -> list[bytes]:
    """Return the values of the first committed records of a topic."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap, isolation_level="read_committed")
    partition = TopicPartition(topic, 0)
    consumer.assign([partition])
    await consumer.start()
    try:
        await consumer.seek_to_beginning(partition)
        values: list[bytes] = []
        while len(values) < count:
            batches = await consumer.getmany(partition, timeout_ms=1000)
            values += [record.value for record in batches.get(partition, [])]
        return values
    finally:
        await consumer.stop()


async def _send(producer: AIOKafkaProducer, topic: str, values: list[bytes]) -> None:
    """Send records and wait until all are acknowledged."""
    for sent in [await producer.send(topic, value, partition=0) for value in values]:
        await sent


def test_committed_transaction_is_read_back_and_an_aborted_one_is_not(kafka: KafkaCluster) -> None:
    """Under read_committed a consumer gets exactly the records of committed transactions, in order."""

    async def scenario() -> None:
        topic = await _make_topic(kafka)
        producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id=topic)
        await producer.start()
        try:
            for values, commit in ((_RECORDS[:100], True), ([b"never"], False), (_RECORDS[100:], True)):
                await producer.begin_transaction()
                for value in values:
                    await producer.send(topic, value, partition=0)
                await (producer.commit_transaction() if commit else producer.abort_transaction())
        finally:
            await producer.stop()
        assert await _read(kafka, topic, len(_RECORDS)) == _RECORDS

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_acknowledged_records_survive_the_loss_of_one_of_three_brokers(kafka_three: KafkaCluster) -> None:
    """Whatever was acknowledged before or after the leader was killed can be read while it is gone."""

    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            topic = await _make_topic(kafka_three, replicas=3)
            producer = AIOKafkaProducer(bootstrap_servers=kafka_three.bootstrap, enable_idempotence=True)
            await producer.start()
            stack.push_async_callback(producer.stop)
            await _send(producer, topic, _RECORDS[:100])
            leader = producer.client.cluster.leader_for_partition(TopicPartition(topic, 0))
            await asyncio.to_thread(kafka_three.kill, leader)
            await _send(producer, topic, _RECORDS[100:])
            assert await _read(kafka_three, topic, len(_RECORDS)) == _RECORDS

    asyncio.run(asyncio.wait_for(scenario(), 90))


def test_suspended_broker_answers_again_after_it_is_resumed(kafka: KafkaCluster) -> None:
    """A suspended broker answers nobody and loses nothing."""
    asyncio.run(_make_topic(kafka))
    kafka.suspend(0)
    try:
        with pytest.raises(TimeoutError):
            asyncio.run(asyncio.wait_for(_make_topic(kafka), 2))
    finally:
        kafka.resume(0)
    asyncio.run(asyncio.wait_for(_make_topic(kafka), 30))


def test_restarted_broker_has_its_records_and_address(kafka: KafkaCluster) -> None:
    """A broker that was killed comes back on its address with all that it had acknowledged."""
    address = kafka.bootstrap

    async def write() -> str:
        topic = await _make_topic(kafka)
        producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, enable_idempotence=True)
        await producer.start()
        await _send(producer, topic, _RECORDS)
        await producer.stop()
        return topic

    topic = asyncio.run(write())
    kafka.kill(0)
    kafka.restart(0)
    assert kafka.bootstrap == address
    assert asyncio.run(asyncio.wait_for(_read(kafka, topic, len(_RECORDS)), 60)) == _RECORDS


@pytest.mark.usefixtures("kafka")
def test_brokers_do_not_outlive_a_killed_owner(tmp_path: Path) -> None:
    """When the process that started a broker is killed, the broker goes too, even if it was suspended."""
    owner = subprocess.run(
        [sys.executable, "-c", _KILLED_OWNER, str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert owner.returncode == -signal.SIGKILL, owner.stderr
    port = int(owner.stdout.rpartition(":")[2])
    deadline = time.monotonic() + 10
    while not is_free(port):
        assert time.monotonic() < deadline, "the broker still listens"
        time.sleep(0.05)


@pytest.mark.usefixtures("kafka")
def test_broker_that_cannot_start_says_why(tmp_path: Path) -> None:
    """A start with settings that the broker refuses fails at once, with the reason from its log."""
    with pytest.raises(KafkaFailed, match=r"log\.retention\.ms"):
        KafkaCluster.start(tmp_path, settings={"log.retention.ms": "soon"})
