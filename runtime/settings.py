"""Settings: one TOML file and the environment, validated at start with all faults listed at once.

Owns names, defaults, limits and the combinations that cannot work. Does not own what the values are used for.
The guide ``docs/guides/configuration.md`` lists every key; a test keeps it complete.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from runtime.alert_tables import AlertSettings
from runtime.dashboard_tables import DashboardSettings
from runtime.setting_faults import DELIMITER, PREFIX, SettingsError, faults_of, unknown_variables
from runtime.setting_tables import (
    MIB,
    AccountSettings,
    GatewaySettings,
    KafkaSettings,
    MetricsSettings,
    Table,
    WorkerSettings,
    ZoneFrom,
    ZoneRules,
)

__all__ = [
    "AccountSettings",
    "AlertSettings",
    "DashboardSettings",
    "GatewaySettings",
    "KafkaSettings",
    "MetricsSettings",
    "Role",
    "Settings",
    "SettingsError",
    "WorkerSettings",
    "ZoneFrom",
    "check_roles",
    "load_settings",
    "settings_file",
]

Role = Literal["run", "gateway", "worker", "dashboard"]
_CHDB_WITH_KAFKA = (
    "clickhouse: found chdb:// with a kafka:// broker and the role `run`, expected http(s)://HOST:PORT/DATABASE; or no "
    "broker: `convometer run` then keeps the log in its data directory as well"
)
_HOST_AND_PORT = re.compile(r"[^\s,/@:]+:\d{1,5}")


class Settings(Table):
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
    plans: Annotated[Path | None, Field(description="file of the plans, TOML; none = there are no plans")] = (
        None
    )
    rate_cards: Annotated[
        Path, Field(description="directory of rate cards beside those that ship with convometer")
    ] = Field(default_factory=lambda values: values["data"] / "rate-cards")
    gateway: Annotated[GatewaySettings, Field(description="the HTTP entrance")] = GatewaySettings()
    worker: Annotated[WorkerSettings, Field(description="the metering worker")] = WorkerSettings()
    dashboard: Annotated[DashboardSettings, Field(description="the billing dashboard")] = DashboardSettings()
    alerts: Annotated[AlertSettings, Field(description="notices before a limit is used up")] = AlertSettings()
    metrics: Annotated[MetricsSettings, Field(description="bounds of the metrics")] = MetricsSettings()
    kafka: Annotated[KafkaSettings, Field(description="how to reach Kafka")] = KafkaSettings()
    dead_letter_retention_days: Annotated[
        int, Field(ge=1, le=3660, description="age at which dead letters go, days")
    ] = 30
    dead_letter_bytes_max: Annotated[
        int, Field(ge=MIB, description="size at which the oldest dead letters go, bytes")
    ] = 1024 * MIB
    keep_message_text: Annotated[bool, Field(description="keep message text in dead letters")] = False
    log_format: Annotated[Literal["json", "text"], Field(description="shape of a log line")] = "text"

    @field_validator("alerts")
    @classmethod
    def _can_mail(cls, alerts: AlertSettings, info: ValidationInfo) -> AlertSettings:
        dashboard = info.data.get("dashboard")
        if alerts.emails and isinstance(dashboard, DashboardSettings) and not dashboard.mail.host:
            raise ValueError("dashboard.mail.host with alerts.emails: the server that mails are sent by")
        return alerts

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

    @property
    def users_file(self) -> Path:
        """Return the file of the dashboard's users and tokens."""
        return self.dashboard.users or self.data / "users.json"

    def zone_rules(self) -> dict[str, ZoneRules]:
        """Return the effective-dated zones of each configured account, as ``metering.calendar`` takes them."""
        return {account: entry.zone_rules() for account, entry in self.accounts.items()}

    def known_accounts(self) -> frozenset[str] | None:
        """Return the only accounts whose events are accepted; None = every account."""
        return frozenset(self.accounts) if self.unknown_accounts == "refuse" else None

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


def settings_file(config: Path | None = None) -> Path | None:
    """Return the file that ``load_settings`` reads: the given one, that of ``CONVOMETER_CONFIG``, or none."""
    if config is None and os.environ.get(f"{PREFIX}CONFIG"):
        return Path(os.environ[f"{PREFIX}CONFIG"])
    return config


def load_settings(config: Path | None = None, overrides: dict[str, Any] | None = None) -> Settings:
    """Return the settings of this process.

    Precedence: ``overrides`` (nested, from the command line), environment, file, default. ``config`` defaults to
    ``CONVOMETER_CONFIG``; without either there is no file.

    Raises:
        SettingsError: with every fault found, in the file and in the environment.
    """
    config = settings_file(config)
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
    faults = []
    if role == "run":
        # Other workers may be on that Kafka, and would not see the numbers in this process's own ClickHouse.
        if settings.kafka_servers and settings.chdb_directory is not None:
            raise SettingsError([_CHDB_WITH_KAFKA])
        return
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
