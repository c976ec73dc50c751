"""The tables of the settings: names, defaults, limits, and what fits together within one table.

Owns no source of values; ``runtime.settings`` reads those.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self

import orjson
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from schemas.time_zones import available_timezones

ZoneRules = tuple[tuple[str, str], ...]

MIB = 1 << 20
DEFAULT_ZONE = "UTC"
# These name whatever the machine is set to, so that two machines would count differently.
_MACHINE_ZONES = frozenset({"localtime", "Factory"})
_MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")


def split_list(value: object) -> object:
    """Let one text be a list: JSON, or words between commas, as the environment has only text."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    return [word.strip() for word in value.split(",")]


# An empty secret would make everyone's signature valid; anything shorter than 8 is a slip or can be guessed.
Secret = Annotated[SecretStr, Field(min_length=8)]
Secrets = Annotated[tuple[Secret, ...], BeforeValidator(split_list)]


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones()) - _MACHINE_ZONES


def _check_zone(zone: str) -> str:
    if zone not in _zones():
        raise ValueError("an IANA time zone such as America/Sao_Paulo")
    return zone


class Table(BaseModel):
    """What all tables share: unknown keys are faults, and no fault repeats what was found."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, populate_by_name=True)


class ZoneFrom(Table):
    """A time zone and the month from which it is in force."""

    month: Annotated[str, Field(alias="from", description="first local month, YYYY-MM; none = ever")] = ""
    zone: Annotated[str, Field(description="IANA time zone")]

    @field_validator("month")
    @classmethod
    def _is_month(cls, month: str) -> str:
        if month and not _MONTH.fullmatch(month):
            raise ValueError("a month as YYYY-MM")
        return month

    @field_validator("zone")
    @classmethod
    def _is_zone(cls, zone: str) -> str:
        return _check_zone(zone)


def _one_zone(value: object) -> object:
    return [{"from": "", "zone": _check_zone(value)}] if isinstance(value, str) else value


class AccountSettings(Table):
    """What is particular to one account."""

    time_zone: Annotated[
        tuple[ZoneFrom, ...],
        BeforeValidator(_one_zone),
        Field(min_length=1, description="IANA zone, or a list of {from, zone} by month"),
    ] = (ZoneFrom(zone=DEFAULT_ZONE),)
    app_secrets: Annotated[Secrets, Field(description="app secrets that may sign for this account only")] = ()
    name: Annotated[str, Field(max_length=120, description="how the dashboard calls it; empty = its id")] = ""
    number_names: Annotated[
        dict[str, str], Field(description="how the dashboard calls its business numbers, by id")
    ] = Field(default_factory=dict)

    @field_validator("time_zone")
    @classmethod
    def _months_ascend(cls, rules: tuple[ZoneFrom, ...]) -> tuple[ZoneFrom, ...]:
        months = [rule.month for rule in rules]
        if months != sorted(set(months)):
            raise ValueError("months in ascending order, each once")
        return rules

    def zone_rules(self) -> ZoneRules:
        """Return ``((month or "", zone), ...)``; before a first month that is given, the default zone is in force."""
        rules = tuple((rule.month, rule.zone) for rule in self.time_zone)
        return rules if rules[0][0] == "" else (("", DEFAULT_ZONE), *rules)


class GatewaySettings(Table):
    """The HTTP entrance."""

    host: Annotated[str, Field(min_length=1, description="address to listen on")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535, description="port to listen on; 0 = any free one")] = 8080
    verify_token: Annotated[Secret | None, Field(description="token of the provider's verification GET")] = (
        None
    )
    app_secrets: Annotated[Secrets, Field(description="app secrets that may sign for every account")] = ()
    events_tokens: Annotated[Secrets, Field(description="bearer tokens of POST /events")] = ()
    body_size_bytes_max: Annotated[
        int, Field(ge=1024, le=64 * MIB, description="largest request body, bytes")
    ] = 3 * MIB
    body_timeout_seconds: Annotated[
        float, Field(gt=0, le=120, description="time a sender has for its whole body, seconds")
    ] = 15.0
    buffered_bytes_max: Annotated[
        int, Field(ge=MIB, description="bodies being received, all requests together, bytes")
    ] = 256 * MIB
    updates_per_body_max: Annotated[int, Field(ge=1, le=100_000, description="updates in one body")] = 1000
    batch_linger_ms: Annotated[
        float, Field(ge=0, le=1000, description="wait for more events of a partition, milliseconds")
    ] = 2.0
    batch_events_max: Annotated[int, Field(ge=1, le=10_000, description="events in one batch record")] = 500
    queue_events_max: Annotated[
        int, Field(ge=1, description="updates waiting for the log; beyond it 503 is answered")
    ] = 50_000
    append_timeout_seconds: Annotated[
        # The provider gives up at about 20 s; an answer later than that is an answer to nobody.
        float,
        Field(gt=0, lt=20, description="time for the log to become durable, then 503, seconds"),
    ] = 10.0

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.batch_linger_ms >= self.append_timeout_seconds * 1000:
            raise ValueError("batch_linger_ms shorter than append_timeout_seconds")
        if self.queue_events_max < self.updates_per_body_max:
            raise ValueError("queue_events_max of at least updates_per_body_max")
        if self.buffered_bytes_max < self.body_size_bytes_max:
            raise ValueError("buffered_bytes_max of at least body_size_bytes_max")
        return self


class WorkerSettings(Table):
    """The metering worker."""

    host: Annotated[str, Field(min_length=1, description="address of its probes and metrics")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535, description="their port; 0 = any free one")] = 8081
    flush_rows_max: Annotated[int, Field(ge=1, le=1_000_000, description="rows in one flush")] = 20_000
    owed_rows_max: Annotated[
        int, Field(ge=1, description="rows owed to ClickHouse from which metering waits")
    ] = 1_000_000
    flush_interval_ms: Annotated[
        int, Field(ge=10, le=60_000, description="longest wait before a flush, milliseconds")
    ] = 500
    message_retention_days: Annotated[
        int, Field(ge=1, le=3660, description="state of a message after its last event, days")
    ] = 35
    # Seven days of repeated delivery, the longest window (8), and one day to spare.
    horizon_days: Annotated[int, Field(ge=16, le=3660, description="accepted lateness, days")] = 16
    expired_hash_days: Annotated[
        int, Field(ge=1, le=3660, description="memory of dropped messages, days")
    ] = 400
    refused_run_max: Annotated[
        int, Field(ge=0, description="refused in a row, then the partition stops; 0 = never, updates")
    ] = 1000
    refused_ratio_max: Annotated[
        float, Field(gt=0, le=1, description="refused share of the window, then the partition stops")
    ] = 0.5
    query_tokens: Annotated[
        Secrets, Field(description="bearer tokens of whoever may ask for a user's windows; none = nobody")
    ] = ()
    ladder_wait_minutes: Annotated[
        int,
        Field(ge=0, le=1440, description="after which a message's steps are looked at; 0 = never, minutes"),
    ] = 30
    refused_window: Annotated[int, Field(ge=10, description="updates that the share is taken of")] = 5000

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        # A day more than the horizon: customer service windows look back on messages of the day before the cut.
        if self.message_retention_days <= self.horizon_days:
            raise ValueError("message_retention_days of more than horizon_days")
        return self


class MetricsSettings(Table):
    """How many series there may be of what only the traffic knows the number of."""

    limits_max: Annotated[
        int, Field(ge=0, le=10_000, description="limits with gauges of their own, those used up most first")
    ] = 500
    accounts_max: Annotated[
        int, Field(ge=0, le=100_000, description="accounts with a counter of their own, the first seen")
    ] = 1000
    numbers_max: Annotated[
        int,
        Field(ge=0, le=100_000, description="business numbers with counters of their own, the first seen"),
    ] = 1000


class KafkaSettings(Table):
    """How to reach the Kafka cluster that ``broker`` names, and how our topics are made there."""

    security_protocol: Annotated[
        Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"],
        Field(description="as Kafka's clients name it"),
    ] = "PLAINTEXT"
    sasl_mechanism: Annotated[
        Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"], Field(description="for the SASL protocols")
    ] = ""
    username: Annotated[str, Field(description="for SASL")] = ""
    password: Annotated[SecretStr, Field(description="for SASL")] = SecretStr("")
    ca_file: Annotated[Path | None, Field(description="authorities to trust, PEM; none = the system's")] = (
        None
    )
    certificate_file: Annotated[Path | None, Field(description="our certificate, PEM")] = None
    key_file: Annotated[Path | None, Field(description="key of our certificate, PEM")] = None
    prefix: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9._-]{0,100}$",
            description="before the names of our topics and group: several installations on one cluster",
        ),
    ] = ""
    # Somebody is invoiced by what is in these topics: one broker may be lost, and nothing is.
    replication_factor: Annotated[int, Field(ge=1, le=32, description="copies of topics that we make")] = 3
    min_insync_replicas: Annotated[
        int, Field(ge=1, le=32, description="copies that must have a record before it is acknowledged")
    ] = 2
    compression: Annotated[Literal["none", "gzip"], Field(description="of the records we write")] = "none"
    request_timeout_seconds: Annotated[float, Field(gt=0, le=300, description="for one answer, seconds")] = (
        30.0
    )
    session_timeout_seconds: Annotated[
        float,
        Field(ge=1, le=300, description="silence after which a worker's partitions go to others, seconds"),
    ] = 15.0
    instance_id: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=249,
            description="name of this worker that stays the same over restarts (static membership)",
        ),
    ] = None
    events_retention_days: Annotated[
        int, Field(ge=1, le=3660, description="age at which events leave the log, days")
    ] = 7

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.min_insync_replicas > self.replication_factor:
            raise ValueError("min_insync_replicas of at most replication_factor")
        if self.security_protocol.startswith("SASL") != bool(self.sasl_mechanism):
            raise ValueError("sasl_mechanism with the SASL protocols, and with these only")
        if self.sasl_mechanism and not (self.username and self.password.get_secret_value()):
            raise ValueError("username and password with sasl_mechanism")
        if self.key_file is not None and self.certificate_file is None:
            raise ValueError("certificate_file with key_file")
        return self
