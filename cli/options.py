"""From settings to what the worker takes. Owns the translation, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, replace

from metering.calendar import ZoneRules
from metering.rules import DAY_SECONDS, shipped_regimes
from runtime.settings import Settings
from runtime.settings_in_force import Derived, SettingsInForce
from schemas.events import Parsed
from streams.flusher import FlushLimits
from streams.guard import RefusalLimits
from streams.kafka.connection import KafkaConnection
from streams.normalize import InputFormat, Reading
from streams.opening import WorkerOptions
from streams.step import Retention

_DEFAULT_ZONES: ZoneRules = (("", "UTC"),)


def reading_of(settings: Settings) -> Reading:
    """Return how bodies are read that do not come through the gateway."""
    return Reading(settings.known_accounts(), settings.keep_message_text)


@dataclass(frozen=True, slots=True)
class _ReadingNow(Reading):
    """Reads each body as the settings in force say."""

    now: Derived[Reading] | None = None

    def read(self, value: bytes, received_at_ms: int, input_format: InputFormat | None = None) -> Parsed:
        """See ``Reading.read``."""
        assert self.now is not None
        return self.now().read(value, received_at_ms, input_format)


def live_reading(in_force: SettingsInForce) -> Reading:
    """Return how bodies are read while the settings may change: accounts that are new become known."""
    return _ReadingNow(now=Derived(in_force, reading_of))


def connection_of(settings: Settings) -> KafkaConnection:
    """Return how to reach the Kafka cluster that the settings name."""
    kafka = settings.kafka
    return KafkaConnection(
        settings.kafka_servers,
        security_protocol=kafka.security_protocol,
        sasl_mechanism=kafka.sasl_mechanism,
        username=kafka.username,
        password=kafka.password.get_secret_value(),
        ca_file=str(kafka.ca_file or ""),
        certificate_file=str(kafka.certificate_file or ""),
        key_file=str(kafka.key_file or ""),
        prefix=kafka.prefix,
        request_timeout_seconds=kafka.request_timeout_seconds,
        compression=None if kafka.compression == "none" else kafka.compression,
        replication_factor=kafka.replication_factor,
        min_insync_replicas=kafka.min_insync_replicas,
        session_timeout_seconds=kafka.session_timeout_seconds,
        instance_id=kafka.instance_id,
    )


def worker_options(settings: Settings) -> WorkerOptions:
    """Return the worker's options."""
    zones = settings.zone_rules()
    worker = settings.worker
    return WorkerOptions(
        state_directory=settings.data.absolute() / "state",
        partitions=settings.partitions,
        regimes=shipped_regimes(),
        zones_of=lambda account: zones.get(account, _DEFAULT_ZONES),
        retention=Retention(
            worker.horizon_days * DAY_SECONDS,
            worker.message_retention_days * DAY_SECONDS,
            worker.expired_hash_days * DAY_SECONDS,
        ),
        flush_limits=FlushLimits(
            worker.flush_interval_ms / 1000, worker.flush_rows_max, worker.owed_rows_max
        ),
        reading=reading_of(settings),
        refusal_limits=RefusalLimits(worker.refused_run_max, worker.refused_ratio_max, worker.refused_window),
        events_seconds=settings.kafka.events_retention_days * DAY_SECONDS,
        dead_letter_seconds=settings.dead_letter_retention_days * DAY_SECONDS,
        dead_letter_bytes=settings.dead_letter_bytes_max,
    )


def live_worker_options(in_force: SettingsInForce) -> WorkerOptions:
    """Return the options of a worker whose settings may change: it asks for zones and known accounts each time."""
    options = worker_options(in_force.settings)
    return replace(options, zones_of=in_force.zones_of, reading=live_reading(in_force))
