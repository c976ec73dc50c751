"""Settings: one TOML file and the environment, validated at start with all faults listed at once.

Owns names, defaults, limits and the combinations that cannot work. Does not own what the values are used for.
The guide ``docs/guides/configuration.md`` lists every key; a test keeps it complete.
"""

from __future__ import annotations

import os
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import available_timezones

import orjson
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from runtime.setting_faults import DELIMITER, PREFIX, SettingsError, faults_of, unknown_variables

__all__ = [
    "AccountSettings",
    "GatewaySettings",
    "Role",
    "Settings",
    "SettingsError",
    "WorkerSettings",
    "check_roles",
    "load_settings",
]

Role = Literal["run", "gateway", "worker", "dashboard"]
ZoneRules = tuple[tuple[str, str], ...]

MIB = 1 << 20
DEFAULT_ZONE = "UTC"
# These name whatever the machine is set to, so that two machines would count differently.
_MACHINE_ZONES = frozenset({"localtime", "Factory"})
_MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")
_HOST_AND_PORT = re.compile(r"[^\s,/@:]+:\d{1,5}")


def _split_list(value: object) -> object:
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
Secrets = Annotated[tuple[Secret, ...], BeforeValidator(_split_list)]


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones()) - _MACHINE_ZONES


def _check_zone(zone: str) -> str:
    if zone not in _zones():
        raise ValueError("an IANA time zone such as America/Sao_Paulo")
    return zone


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, populate_by_name=True)


class ZoneFrom(_Table):
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


class AccountSettings(_Table):
    """What is particular to one account."""

    time_zone: Annotated[
        tuple[ZoneFrom, ...],
        BeforeValidator(_one_zone),
        Field(min_length=1, description="IANA zone, or a list of {from, zone} by month"),
    ] = (ZoneFrom(zone=DEFAULT_ZONE),)
    app_secrets: Annotated[Secrets, Field(description="app secrets that may sign for this account only")] = ()

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


class GatewaySettings(_Table):
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


class WorkerSettings(_Table):
    """The metering worker."""

    flush_rows_max: Annotated[int, Field(ge=1, le=1_000_000, description="rows in one flush")] = 20_000
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

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        # A day more than the horizon: customer service windows look back on messages of the day before the cut.
        if self.message_retention_days <= self.horizon_days:
            raise ValueError("message_retention_days of more than horizon_days")
        return self


class Settings(_Table):
    """Everything that can be set. Building one directly reads neither file nor environment."""

    data: Annotated[Path, Field(description="data directory; has one owner")] = Path("data")
    broker: Annotated[
        str,
        Field(repr=False, description="embedded://DIRECTORY or kafka://HOST:PORT,...; default: DATA/log"),
    ] = Field(default_factory=lambda values: f"embedded://{values['data'] / 'log'}")
    clickhouse: Annotated[
        str,
        Field(repr=False, description="chdb://DIRECTORY or http(s)://USER:PASSWORD@HOST:PORT/DATABASE"),
    ] = Field(default_factory=lambda values: f"chdb://{values['data'] / 'clickhouse'}")
    partitions: Annotated[
        int, Field(ge=1, le=1024, description="partitions of the log; fixed at the first start")
    ] = 4
    unknown_accounts: Annotated[
        Literal["meter", "refuse"], Field(description="accounts without an entry below")
    ] = "meter"
    accounts: Annotated[dict[str, AccountSettings], Field(description="what is particular, by id")] = Field(
        default_factory=dict
    )
    gateway: Annotated[GatewaySettings, Field(description="the HTTP entrance")] = GatewaySettings()
    worker: Annotated[WorkerSettings, Field(description="the metering worker")] = WorkerSettings()
    dead_letter_retention_days: Annotated[
        int, Field(ge=1, le=3660, description="age at which dead letters go, days")
    ] = 30
    dead_letter_bytes_max: Annotated[
        int, Field(ge=MIB, description="size at which the oldest dead letters go, bytes")
    ] = 1024 * MIB
    keep_message_text: Annotated[bool, Field(description="keep message text in dead letters")] = False
    log_format: Annotated[Literal["json", "text"], Field(description="shape of a log line")] = "text"

    @field_validator("broker")
    @classmethod
    def _is_broker(cls, address: str) -> str:
        scheme, _, rest = address.partition("://")
        if scheme == "embedded" and rest:
            return address
        if scheme == "kafka" and all(_HOST_AND_PORT.fullmatch(server) for server in rest.split(",")):
            return address
        raise ValueError("embedded://DIRECTORY or kafka://HOST:PORT[,HOST:PORT...]")

    @field_validator("clickhouse")
    @classmethod
    def _is_clickhouse(cls, address: str) -> str:
        scheme, _, rest = address.partition("://")
        try:
            is_server = scheme in ("http", "https") and bool(urlsplit(address).hostname)
        except ValueError:
            is_server = False
        if is_server or (scheme == "chdb" and rest):
            return address
        raise ValueError("chdb://DIRECTORY or http(s)://[USER:PASSWORD@]HOST[:PORT][/DATABASE]")

    @property
    def log_directory(self) -> Path | None:
        """Return the directory of the embedded log, or None where the broker is Kafka."""
        scheme, _, rest = self.broker.partition("://")
        return Path(rest) if scheme == "embedded" else None

    @property
    def kafka_servers(self) -> tuple[str, ...]:
        """Return ``host:port`` of the Kafka brokers, or nothing where the log is embedded."""
        scheme, _, rest = self.broker.partition("://")
        return tuple(rest.split(",")) if scheme == "kafka" else ()

    @property
    def chdb_directory(self) -> Path | None:
        """Return the directory of the embedded ClickHouse, or None where it is a server."""
        scheme, _, rest = self.clickhouse.partition("://")
        return Path(rest) if scheme == "chdb" else None

    def zone_rules(self) -> dict[str, ZoneRules]:
        """Return the effective-dated zones of each configured account, as ``metering.calendar`` takes them."""
        return {account: entry.zone_rules() for account, entry in self.accounts.items()}

    def with_app_secret(self, secret: SecretStr) -> Settings:
        """Return the same settings with one more secret that may sign for every account (``run --demo``)."""
        gateway = self.gateway.model_copy(update={"app_secrets": (*self.gateway.app_secrets, secret)})
        return self.model_copy(update={"gateway": gateway})


class _Environment(EnvSettingsSource):
    """The environment as nested text; what is not JSON goes to validation as it is, to be listed with the rest."""

    def decode_complex_value(
        self, field_name: str, field: FieldInfo, value: Any
    ) -> Any:  # typed so by the base
        if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{"):
            return value
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return value


def load_settings(config: Path | None = None, overrides: dict[str, Any] | None = None) -> Settings:
    """Return the settings of this process.

    Precedence: ``overrides`` (nested, from the command line), environment, file, default. ``config`` defaults to
    ``CONVOMETER_CONFIG``; without either there is no file.

    Raises:
        SettingsError: with every fault found, in the file and in the environment.
    """
    if config is None and os.environ.get(f"{PREFIX}CONFIG"):
        config = Path(os.environ[f"{PREFIX}CONFIG"])
    content, faults = _read_file(config)
    faults += unknown_variables(Settings, os.environ)
    sources = _sources(content, overrides or {})
    try:
        loaded = sources()
    except ValidationError as error:
        faults += faults_of(error, Settings)
    if faults:
        # Without "from": the validation error's own text would repeat what was found, secrets included.
        raise SettingsError(faults, str(config or "")) from None
    # Not the instance itself: its class lives in a function, and helpers that are spawned must unpickle it.
    return Settings.model_construct(_fields_set=loaded.model_fields_set, **dict(loaded))


def _sources(content: dict[str, Any], overrides: dict[str, Any]) -> type[Settings]:
    class _Loaded(BaseSettings, Settings):
        model_config = SettingsConfigDict(
            env_prefix=PREFIX, env_nested_delimiter=DELIMITER, env_ignore_empty=True, extra="forbid"
        )

        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *_: Any, **__: Any
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (
                InitSettingsSource(settings_cls, overrides),
                _Environment(settings_cls),
                InitSettingsSource(settings_cls, content),
            )

    return _Loaded


def _read_file(config: Path | None) -> tuple[dict[str, Any], list[str]]:
    if config is None:
        return {}, []
    try:
        return tomllib.loads(config.read_text(encoding="utf-8")), []
    except OSError as error:
        return {}, [f"{config}: found {error.strerror or error}, expected a readable file"]
    except ValueError as error:
        return {}, [f"{config}: found a fault ({error}), expected TOML in UTF-8"]


def check_roles(settings: Settings, role: Role) -> None:
    """Refuse a role that cannot work with these addresses, naming the combination that does.

    The embedded log and the embedded ClickHouse have one owner: only ``run`` keeps all roles in that one process.

    Raises:
        SettingsError: with one fault per address that does not fit.
    """
    if role == "run":
        return
    faults = []
    if settings.log_directory is not None and role != "dashboard":
        faults.append(
            f"broker: found embedded:// with the single role `{role}`, expected kafka://HOST:PORT; "
            "or `convometer run`, which keeps all roles in the process that owns the embedded log"
        )
    # The gateway never opens ClickHouse: the default does no harm, but an explicit chdb:// is meant for a worker.
    concerned = role != "gateway" or "clickhouse" in settings.model_fields_set
    if settings.chdb_directory is not None and concerned:
        faults.append(
            f"clickhouse: found chdb:// with the single role `{role}`, expected http(s)://HOST:PORT/DATABASE; "
            "or `convometer run`, which keeps all roles in the process that owns the embedded ClickHouse"
        )
    if faults:
        raise SettingsError(faults)
