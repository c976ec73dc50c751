"""``doctor`` on Kafka and a ClickHouse server: what is there against what is needed. Changes nothing, makes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from aiokafka.admin import AIOKafkaAdminClient

from cli.findings import Finding
from cli.options import connection_of, worker_options
from runtime.settings import Settings
from schemas.topics import DEAD_LETTER, EVENTS, INSTALLATION, TopicSpec
from sinks.clickhouse.client import ClientPool, open_client
from sinks.clickhouse.migrations import pending
from sinks.clickhouse.writer import ClickHouseWriter
from streams.kafka.connection import KafkaConnection
from streams.kafka.installation import Installation, read_installation
from streams.kafka.log import KafkaWorkerLog
from streams.kafka.topics import check, partition_counts
from streams.topic_specs import topic_specs


async def cluster_findings(settings: Settings) -> list[Finding]:
    """Return everything that can be said.

    Raises:
        KafkaError, ClickHouseAway, ClickHouseRefused: one of the two cannot be looked at.
    """
    connection = connection_of(settings)
    admin = connection.admin()
    await admin.start()
    try:
        findings = [finding async for finding in _kafka(admin, settings, connection)]
        names = await partition_counts(admin, [connection.topic(INSTALLATION), connection.topic(EVENTS)])
    finally:
        await admin.close()
    installation = await read_installation(connection) if len(names) == 2 else None
    findings.append(_installation(installation, settings))
    findings += await asyncio.to_thread(_clickhouse, settings, installation)
    if installation is not None and not any(finding.advice for finding in findings):
        findings += [finding async for finding in _work(settings, connection, installation)]
    return findings


async def _kafka(
    admin: AIOKafkaAdminClient, settings: Settings, connection: KafkaConnection
) -> AsyncIterator[Finding]:
    brokers = len((await admin.describe_cluster())["brokers"])
    needed = settings.kafka.replication_factor
    advice = f"set kafka.replication_factor to at most {brokers}, or add brokers" if brokers < needed else ""
    yield Finding("Kafka", f"{brokers} brokers", advice)
    specs: list[TopicSpec] = topic_specs(worker_options(settings))
    present = await partition_counts(admin, [connection.topic(spec.name) for spec in specs])
    missing = [spec.name for spec in specs if connection.topic(spec.name) not in present]
    if missing:
        yield Finding("topics", f"{len(missing)} are made when the first gateway or worker starts")
    faults = await check(admin, specs, connection)
    for fault in faults:
        yield Finding(f"topic {fault.topic}", f"found {fault.found}, expected {fault.expected}", fault.remedy)
    if not faults and present:
        yield Finding("topics", f"{len(present)} are as they have to be")


def _installation(installation: Installation | None, settings: Settings) -> Finding:
    if installation is None:
        return Finding("installation", "none yet; the first gateway or worker makes it")
    state = f"{installation.id} with {installation.partitions} partitions"
    if installation.partitions != settings.partitions:
        advice = f"set partitions = {installation.partitions}: the number can never change"
        return Finding("installation", state, advice)
    return Finding("installation", state)


def _clickhouse(settings: Settings, installation: Installation | None) -> list[Finding]:
    client = open_client(settings.clickhouse)
    try:
        missing = pending(client)
    finally:
        client.close()
    if missing:
        return [Finding("ClickHouse", f"{len(missing)} migrations are missing", "run `convometer migrate`")]
    clients = ClientPool(lambda: open_client(settings.clickhouse))
    try:
        known = ClickHouseWriter(clients).read_installation()
    finally:
        clients.close()
    if known is not None and installation is not None and known != installation.id:
        advice = "point to the ClickHouse that belongs to this Kafka, or to an empty database"
        return [Finding("ClickHouse", f"holds the numbers of installation {known}", advice)]
    return [Finding("ClickHouse", "has this version's schema")]


async def _work(
    settings: Settings, connection: KafkaConnection, installation: Installation
) -> AsyncIterator[Finding]:
    clients = ClientPool(lambda: open_client(settings.clickhouse))
    log = await KafkaWorkerLog.open(connection, installation.id)
    try:
        writer = ClickHouseWriter(clients)
        behind = unflushed = 0
        for partition in range(settings.partitions):
            committed = await log.committed(EVENTS, partition) or 0
            bounds = await log.bounds(EVENTS, partition)
            # What lies at the very end may be markers of transactions, which are no records.
            records = [
                entry async for chunk in log.read(EVENTS, partition, max(committed, bounds.start), bounds.end)
                for entry in chunk
            ]  # fmt: skip
            behind += len(records)
            progress = await asyncio.to_thread(writer.read_progress, partition)
            unflushed += (progress.source_offset if progress else 0) < committed
        advice = "start a worker, or look at its /readyz: records wait" if behind else ""
        yield Finding("workers", f"{behind} records are not metered yet", advice)
        advice = "a worker brings them when it runs; see its log for why it does not" if unflushed else ""
        yield Finding("flush", f"{unflushed} partitions are not in ClickHouse yet", advice)
        letters = (await log.bounds(DEAD_LETTER, 0)).end
        advice = "see `convometer dlq list`, mend the cause, then `convometer dlq replay`" if letters else ""
        yield Finding("dead letters", "some updates were not counted" if letters else "none", advice)
    finally:
        await log.close()
        clients.close()
