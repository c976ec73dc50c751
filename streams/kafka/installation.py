"""What an installation on Kafka is: its id and its number of partitions, fixed by whoever starts first.

Owns the topic with that one record. Two processes that start at once both write; the first record counts for both.
"""

from __future__ import annotations

import uuid

import msgspec
from aiokafka.structs import TopicPartition

from schemas.topics import INSTALLATION, TopicSpec
from streams.kafka.connection import KafkaConnection
from streams.kafka.topics import declare
from streams.processor import StateMismatch

_SPEC = TopicSpec(INSTALLATION, 1, retention_seconds=-1, retention_bytes=-1)
_READ_TIMEOUT_MS = 200


class Installation(msgspec.Struct, frozen=True):
    """The record."""

    id: str
    partitions: int
    """Of ``events`` and the changelogs."""


async def read_installation(connection: KafkaConnection) -> Installation | None:
    """Return the installation, or None when there is none yet. The topic must be there."""
    reader = connection.reader()
    await reader.start()
    try:
        tp = TopicPartition(connection.topic(INSTALLATION), 0)
        reader.assign([tp])
        await reader.seek_to_beginning(tp)
        end = (await reader.end_offsets([tp]))[tp]
        while await reader.position(tp) < end:
            for record in (await reader.getmany(tp, timeout_ms=_READ_TIMEOUT_MS, max_records=1)).get(tp, ()):
                return msgspec.json.decode(record.value, type=Installation)
    finally:
        await reader.stop()
    return None


async def ensure_installation(connection: KafkaConnection, partitions: int) -> Installation:
    """Return the installation, after making it if there is none.

    Raises:
        StateMismatch: it was made with another number of partitions.
        KafkaError: the cluster cannot be reached, or does not let us.
    """
    admin = connection.admin()
    await admin.start()
    try:
        await declare(admin, [_SPEC], connection)
    finally:
        await admin.close()
    installation = await read_installation(connection)
    if installation is None:
        await _propose(connection, Installation(uuid.uuid4().hex, partitions))
        installation = await read_installation(connection)
        assert installation is not None, "a record was acknowledged"
    if installation.partitions != partitions:
        raise StateMismatch(
            f"this Kafka holds an installation with {installation.partitions} partitions, the settings say "
            f"{partitions}; set partitions = {installation.partitions}. The number can never change, as every user's "
            "state lies in one partition"
        )
    return installation


async def _propose(connection: KafkaConnection, installation: Installation) -> None:
    producer = connection.producer()
    await producer.start()
    try:
        await producer.send_and_wait(
            connection.topic(INSTALLATION), msgspec.json.encode(installation), partition=0
        )
    finally:
        await producer.stop()
