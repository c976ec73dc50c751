"""How to reach a Kafka cluster: addresses, security, limits. Makes clients; owns none of them."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from schemas.topics import CONSUMER_GROUP

SCHEME = "convometer-kafka"
"""Of the address that Faust gets; ``kafka://`` stays Faust's own driver."""
MESSAGE_BYTES_MAX = 8 << 20
"""Largest record batch; the topics are declared with it."""
_BATCH_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class KafkaConnection:
    """Where the cluster is, and what it wants to know about us; durations in seconds."""

    servers: tuple[str, ...]
    """``host:port`` of some of the brokers."""
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = ""
    username: str = ""
    password: str = ""
    ca_file: str = ""
    """Certificates of the authorities to trust; none = the system's."""
    certificate_file: str = ""
    key_file: str = ""
    client_id: str = "convometer"
    prefix: str = ""
    """Before the names of our topics, group and transactions: several installations on one cluster."""
    request_timeout_seconds: float = 30.0
    transaction_timeout_seconds: float = 60.0
    compression: str | None = None
    """``gzip``, or what else the installed codecs offer."""
    replication_factor: int = 1
    """Of topics that are made."""
    min_insync_replicas: int = 1
    """Of topics that are made: how many replicas must have a record before it is acknowledged."""
    session_timeout_seconds: float = 15.0
    instance_id: str | None = None
    """Static membership: a worker that comes back under this name within the session timeout moves no partition."""

    @property
    def address(self) -> str:
        """Return the address as Faust takes it."""
        return ";".join(f"{SCHEME}://{server}" for server in self.servers)

    def topic(self, name: str) -> str:
        """Return what a topic of ``schemas.topics`` is called on this cluster."""
        return self.prefix + name

    @property
    def group(self) -> str:
        """Return what the consumer group is called on this cluster."""
        return self.prefix + CONSUMER_GROUP

    def security(self) -> dict[str, Any]:
        """Return the security arguments of aiokafka's clients.

        Raises:
            OSError, ssl.SSLError: a certificate file cannot be used.
        """
        arguments: dict[str, Any] = {"security_protocol": self.security_protocol}
        if self.sasl_mechanism:
            arguments |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password,
            }
        if self.security_protocol in ("SSL", "SASL_SSL"):
            context = ssl.create_default_context(cafile=self.ca_file or None)
            if self.certificate_file:
                context.load_cert_chain(self.certificate_file, self.key_file or None)
            arguments["ssl_context"] = context
        return arguments

    def _arguments(self) -> dict[str, Any]:
        return {
            "bootstrap_servers": list(self.servers),
            "client_id": self.client_id,
            "request_timeout_ms": int(self.request_timeout_seconds * 1000),
            **self.security(),
        }

    def producer(self, transactional_id: str | None = None) -> AIOKafkaProducer:
        """Return a producer that is not started: everything it acknowledges is on all replicas in sync, once."""
        transaction: Mapping[str, Any] = {}
        if transactional_id is not None:
            transaction = {
                "transactional_id": transactional_id,
                "transaction_timeout_ms": int(self.transaction_timeout_seconds * 1000),
            }
        return AIOKafkaProducer(
            acks="all",
            enable_idempotence=True,
            max_batch_size=_BATCH_BYTES,
            max_request_size=MESSAGE_BYTES_MAX,
            compression_type=self.compression,
            **transaction,
            **self._arguments(),
        )

    def reader(self) -> AIOKafkaConsumer:
        """Return a consumer that is not started, belongs to no group and sees committed records only."""
        return AIOKafkaConsumer(
            group_id=None,
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="none",
            fetch_max_wait_ms=100,
            max_partition_fetch_bytes=MESSAGE_BYTES_MAX,
            **self._arguments(),
        )

    def group_reader(self, group: str) -> AIOKafkaConsumer:
        """Return a consumer that is not started, to ask for a group's offsets; it never joins the group."""
        return AIOKafkaConsumer(group_id=group, enable_auto_commit=False, **self._arguments())

    def admin(self) -> AIOKafkaAdminClient:
        """Return an admin client that is not started."""
        return AIOKafkaAdminClient(**self._arguments())


def server_list(address: str) -> Sequence[str]:
    """Return ``host:port`` of each server in ``kafka://HOST:PORT,HOST:PORT``."""
    return tuple(address.partition("://")[2].split(","))
