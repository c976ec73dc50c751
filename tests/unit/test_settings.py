"""Settings: precedence, all faults at once, secrets unseen, and the combinations that cannot work."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel, SecretStr

from metering.calendar import Calendar
from runtime.alert_tables import AlertEmail, AlertSettings, AlertWebhook
from runtime.dashboard_tables import DashboardSettings, MailSettings
from runtime.settings import (
    AccountSettings,
    GatewaySettings,
    KafkaSettings,
    MetricsSettings,
    Role,
    Settings,
    SettingsError,
    WorkerSettings,
    ZoneFrom,
    check_roles,
    load_settings,
)
from tests.support.settings import Loader

pytestmark = pytest.mark.usefixtures("empty_environment")

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "configuration.md"

CLICKHOUSE_FORMS = "chdb://DIRECTORY or http(s)://[USER:PASSWORD@]HOST[:PORT][/DATABASE]"


def test_defaults_need_no_configuration() -> None:
    """Without file and environment everything is embedded under ./data, and nobody may send webhooks."""
    settings = load_settings()
    assert settings.broker == "embedded://data/log"
    assert settings.clickhouse == "chdb://data/clickhouse"
    assert (settings.partitions, settings.unknown_accounts) == (4, "meter")
    assert (settings.gateway.host, settings.gateway.port) == ("127.0.0.1", 8080)
    assert (settings.gateway.app_secrets, settings.gateway.verify_token) == ((), None)
    assert settings.gateway.body_size_bytes_max == 3 * 1024 * 1024
    assert (settings.log_directory, settings.chdb_directory) == (Path("data/log"), Path("data/clickhouse"))


def test_addresses_follow_the_data_directory(load: Loader) -> None:
    """Moving the data directory moves what lies in it."""
    settings = load('data = "/srv/convometer"')
    assert settings.broker == "embedded:///srv/convometer/log"
    assert settings.chdb_directory == Path("/srv/convometer/clickhouse")


def test_precedence(load: Loader) -> None:
    """The command line comes before the environment, that before the file, key by key."""
    settings = load(
        "partitions = 8\n[gateway]\nport = 1000\nhost = '::1'", GATEWAY__PORT="2000", DATA="/from/env"
    )
    assert (settings.partitions, settings.gateway.host, settings.gateway.port) == (8, "::1", 2000)
    overridden = load_settings(load.file, {"data": "/from/verb"})
    assert (overridden.data, overridden.gateway.port) == (Path("/from/verb"), 2000)


def test_file_named_by_the_environment(load: Loader) -> None:
    """CONVOMETER_CONFIG names the file."""
    load("partitions = 9", CONFIG=str(load.file))
    assert load_settings().partitions == 9


def test_lists_and_tables_from_the_environment(load: Loader) -> None:
    """Lists are words between commas or JSON; accounts can be set key by key or as JSON; empty means not set."""
    settings = load(
        GATEWAY__APP_SECRETS="12345678,abcdefgh",
        GATEWAY__EVENTS_TOKENS='["one-token"]',
        ACCOUNTS__9001__TIME_ZONE="Asia/Kolkata",
        ACCOUNTS__9001__APP_SECRETS="87654321",
        CLICKHOUSE="",
    )
    assert [s.get_secret_value() for s in settings.gateway.app_secrets] == ["12345678", "abcdefgh"]
    assert [s.get_secret_value() for s in settings.gateway.events_tokens] == ["one-token"]
    assert settings.zone_rules() == {"9001": (("", "Asia/Kolkata"),)}
    assert settings.accounts["9001"].app_secrets == (SecretStr("87654321"),)
    assert settings.clickhouse == "chdb://data/clickhouse"


def test_all_faults_at_once(load: Loader) -> None:
    """One start shows every fault of file and environment, each with its key, what was found and what is expected."""
    faults = load.faults(
        'partitions = 0\nclickhouse = "mysql://h"\n[gateway]\nport = 70000\n[accounts.9001]\ntime_zone = "Mars/Base"',
        GATEWAY__APPEND_TIMEOUT_SECONDS="25",
        UNKNOWN_ACCOUNTS="maybe",
    )
    assert sorted(faults) == [
        "CONVOMETER_GATEWAY__APPEND_TIMEOUT_SECONDS: found '25', expected a number less than 20",
        "CONVOMETER_UNKNOWN_ACCOUNTS: found 'maybe', expected 'meter' or 'refuse'",
        "accounts.9001.time_zone: found 'Mars/Base', expected an IANA time zone such as America/Sao_Paulo",
        f"clickhouse: found a value that is not shown, expected {CLICKHOUSE_FORMS}",
        "gateway.port: found 70000, expected a number less than or equal to 65535",
        "partitions: found 0, expected a number greater than or equal to 1",
    ]


@pytest.mark.parametrize(
    ("toml", "fault"),
    [
        ("partition = 3", "partition: found an unknown key, expected a known one; did you mean partitions?"),
        (
            "[gateway]\nprot = 1",
            "gateway.prot: found an unknown key, expected a known one; did you mean gateway.port?",
        ),
        ("port = 1", "port: found an unknown key, expected a known one; did you mean gateway.port?"),
        (
            "[accounts.9001]\ntimezone = 'UTC'",
            "accounts.9001.timezone: found an unknown key, expected a known one; did you mean accounts.9001.time_zone?",
        ),
        (
            "[accounts.9001]\nxyz = 1",
            "accounts.9001.xyz: found an unknown key, expected one of time_zone, app_secrets, name, number_names",
        ),
    ],
)
def test_unknown_key(load: Loader, toml: str, fault: str) -> None:
    """An unknown key is a fault that names the key that was probably meant, also in another table."""
    assert load.faults(toml) == [fault]


def test_unknown_variable(load: Loader) -> None:
    """A misspelt variable does not pass in silence; other programs' variables do."""
    [fault] = load.faults(GATEWY__PORT="1")
    assert fault.startswith("CONVOMETER_GATEWY__PORT: found a variable that is no setting")
    assert fault.endswith("did you mean gateway?")


def test_unknown_nested_variable(load: Loader) -> None:
    """A misspelt second word is found as well."""
    assert load.faults(GATEWAY__PROT="1") == [
        "CONVOMETER_GATEWAY__PROT: found an unknown key, expected a known one; did you mean gateway.port?"
    ]


def test_broken_file_does_not_hide_the_environment(load: Loader) -> None:
    """A TOML fault is listed with its line, beside the faults of the environment."""
    faults = load.faults("partitions = \n", PARTITIONS="many")
    assert len(faults) == 2
    assert "line 1" in faults[0]
    assert faults[1].startswith("CONVOMETER_PARTITIONS: found 'many', expected a valid integer")


def test_missing_file_is_a_fault(tmp_path: Path) -> None:
    """A file that was named but is not there is not passed over."""
    with pytest.raises(SettingsError, match="found No such file or directory, expected a readable file"):
        load_settings(tmp_path / "absent.toml")


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("[gateway]\nbatch_linger_ms = 900\nappend_timeout_seconds = 0.5", "batch_linger_ms shorter than"),
        ("[gateway]\nqueue_events_max = 10", "queue_events_max of at least updates_per_body_max"),
        (
            "[gateway]\nbody_size_bytes_max = 9000000\nbuffered_bytes_max = 8000000",
            "buffered_bytes_max of at least",
        ),
        ("[worker]\nhorizon_days = 40", "message_retention_days of more than horizon_days"),
    ],
)
def test_values_that_do_not_fit_together(load: Loader, toml: str, words: str) -> None:
    """Relations between values are checked where both are valid by themselves."""
    [fault] = load.faults(toml)
    assert words in fault


@pytest.mark.parametrize(
    "address", ["kafka://", "kafka://host", "kafka://a:9092,", "kafka://a b:9092", "embedded://", "log", ""]
)
def test_bad_broker(load: Loader, address: str) -> None:
    """Only the two forms of a broker's address are taken."""
    [fault] = load.faults(f'broker = "{address}"')
    assert "expected embedded://DIRECTORY or kafka://HOST:PORT" in fault


@pytest.mark.parametrize(
    "address", ["chdb://", "http://", "https:///db", "clickhouse://h:9000", "http://[::1"]
)
def test_bad_clickhouse(load: Loader, address: str) -> None:
    """Only the two forms of ClickHouse's address are taken."""
    [fault] = load.faults(f'clickhouse = "{address}"')
    assert "expected chdb://DIRECTORY or http(s)://" in fault


def test_cluster_addresses(load: Loader) -> None:
    """With servers there are no directories, and the Kafka servers come as a list."""
    settings = load('broker = "kafka://a:9092,b:9092"\nclickhouse = "https://u:pw@ch:8443/convometer"')
    assert settings.kafka_servers == ("a:9092", "b:9092")
    assert (settings.log_directory, settings.chdb_directory) == (None, None)
    assert load_settings().kafka_servers == ()


def test_secrets_are_never_printed(load: Loader) -> None:
    """Neither settings nor faults show a secret or an address that can hold a password."""
    toml = """
clickhouse = "http://reader:geheim-1@ch:8123/db"
broker = "kafka://a:9092"
[gateway]
verify_token = "geheim-2"
app_secrets = ["geheim-3"]
events_tokens = ["geheim-4"]
[accounts.9001]
app_secrets = ["geheim-5"]
"""
    assert "geheim" not in repr(load(toml)) + str(load(toml))
    bad = (toml.replace('"geheim-2"', '["geheim-2"]').replace("app_secrets", "app_secret")).replace(
        "http:", "ftp:"
    )
    bad = bad.replace('"geheim-4"', '"geheim"')
    with pytest.raises(SettingsError) as raised:
        load(bad, GATEWAY__APP_SECRETS='["geheim-6"', ACCOUNTS__9001='{"app_secrets": "geheim"')
    assert len(raised.value.faults) >= 5
    assert "geheim" not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


def test_short_secrets_are_refused(load: Loader) -> None:
    """An empty or guessable secret would let everyone sign."""
    assert load.faults("[gateway]\napp_secrets = ['', '1234567']\nverify_token = ''") == [
        "gateway.verify_token: found a value that is not shown, expected at least 8 characters",
        "gateway.app_secrets.0: found a value that is not shown, expected at least 8 characters",
        "gateway.app_secrets.1: found a value that is not shown, expected at least 8 characters",
    ]


@pytest.mark.parametrize(
    ("time_zone", "rules"),
    [
        ('"America/Sao_Paulo"', (("", "America/Sao_Paulo"),)),
        (
            '[{zone = "UTC"}, {from = "2026-12", zone = "Asia/Kolkata"}]',
            (("", "UTC"), ("2026-12", "Asia/Kolkata")),
        ),
        # What was counted before the first month was counted in UTC, and stays so.
        ('[{from = "2026-12", zone = "Asia/Kolkata"}]', (("", "UTC"), ("2026-12", "Asia/Kolkata"))),
    ],
)
def test_zone_rules(load: Loader, time_zone: str, rules: tuple[tuple[str, str], ...]) -> None:
    """Zones come as rules by month, the first from the beginning, and the core's calendar takes them."""
    settings = load(f"[accounts.9001]\ntime_zone = {time_zone}\n[accounts.9002]\n")
    assert settings.zone_rules() == {"9001": rules, "9002": (("", "UTC"),)}
    assert Calendar(settings.zone_rules()["9001"]).rules == rules


@pytest.mark.parametrize(
    ("time_zone", "words"),
    [
        (
            '[{from = "2026-13", zone = "UTC"}]',
            "time_zone.0.from: found '2026-13', expected a month as YYYY-MM",
        ),
        ('[{from = "2026-12"}]', "time_zone.0.zone: found"),
        ("[]", "time_zone: found a list, expected at least 1 item"),
        ('"localtime"', "an IANA time zone"),
        ('"../../etc/passwd"', "an IANA time zone"),
        (
            '[{from = "2026-12", zone = "UTC"}, {from = "2026-11", zone = "UTC"}]',
            "months in ascending order, each once",
        ),
    ],
)
def test_bad_zones(load: Loader, time_zone: str, words: str) -> None:
    """Unknown zones, zones that depend on the machine, and months out of order are faults."""
    [fault] = load.faults(f"[accounts.9001]\ntime_zone = {time_zone}")
    assert words in fault


CLUSTER = {"broker": "kafka://a:9092", "clickhouse": "http://ch:8123/db"}


@pytest.mark.parametrize(
    ("addresses", "role", "refused"),
    [
        ({}, "run", ()),
        (CLUSTER, "run", ()),
        ({"clickhouse": CLUSTER["clickhouse"]}, "run", ()),
        ({"broker": CLUSTER["broker"]}, "run", ("clickhouse",)),
        (CLUSTER, "gateway", ()),
        (CLUSTER, "worker", ()),
        (CLUSTER, "dashboard", ()),
        ({}, "gateway", ("broker",)),
        ({}, "worker", ("broker", "clickhouse")),
        ({}, "dashboard", ("clickhouse",)),
        ({"broker": CLUSTER["broker"]}, "gateway", ()),
        ({"broker": CLUSTER["broker"], "clickhouse": "chdb://x"}, "gateway", ("clickhouse",)),
        ({"broker": CLUSTER["broker"]}, "worker", ("clickhouse",)),
        ({"clickhouse": CLUSTER["clickhouse"]}, "worker", ("broker",)),
    ],
)
def test_impossible_combinations(addresses: dict[str, str], role: Role, refused: tuple[str, ...]) -> None:
    """Embedded parts have one owner: single roles are refused with them, naming what works."""
    settings = Settings.model_validate(addresses)
    if not refused:
        check_roles(settings, role)
        return
    with pytest.raises(SettingsError) as raised:
        check_roles(settings, role)
    assert tuple(fault.split(":")[0] for fault in raised.value.faults) == refused
    for fault in raised.value.faults:
        assert f"`{role}`" in fault
        assert "`convometer run`" in fault
        assert "kafka://HOST:PORT" in fault or "http(s)://HOST:PORT" in fault


def test_demo_secret_is_added() -> None:
    """A generated secret signs beside those that are configured."""
    settings = Settings(gateway=GatewaySettings(app_secrets=(SecretStr("configured"),)))
    more = settings.with_app_secret(SecretStr("generated"))
    assert [s.get_secret_value() for s in more.gateway.app_secrets] == ["configured", "generated"]
    assert len(settings.gateway.app_secrets) == 1


def test_loaded_settings_reach_spawned_helpers(load: Loader) -> None:
    """Settings survive pickling, secrets included, and still know what was set."""
    settings = load('clickhouse = "chdb://x"\n[gateway]\nverify_token = "abcdefgh"')
    copy = pickle.loads(pickle.dumps(settings))
    assert copy == settings
    assert copy.gateway.verify_token.get_secret_value() == "abcdefgh"
    assert copy.model_fields_set == {"clickhouse", "gateway"}


def test_building_settings_reads_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only load_settings reads the environment; tests and helpers build what they mean."""
    monkeypatch.setenv("CONVOMETER_PARTITIONS", "77")
    assert Settings().partitions == 4


def documented_keys() -> Iterator[tuple[str, str, type[BaseModel]]]:
    """Yield the key as the guide writes it, the field's name and its model."""
    prefixes: dict[str, type[BaseModel]] = {
        "": Settings,
        "gateway.": GatewaySettings,
        "worker.": WorkerSettings,
        "dashboard.": DashboardSettings,
        "dashboard.mail.": MailSettings,
        "alerts.": AlertSettings,
        "alerts.webhooks.": AlertWebhook,
        "alerts.emails.": AlertEmail,
        "metrics.": MetricsSettings,
        "kafka.": KafkaSettings,
        "accounts.ID.": AccountSettings,
    }
    for prefix, model in prefixes.items():
        for name in model.model_fields:
            if name not in (
                "gateway",
                "worker",
                "dashboard",
                "mail",
                "alerts",
                "metrics",
                "kafka",
                "accounts",
            ):
                yield prefix + name, name, model


@pytest.mark.parametrize(("key", "name", "model"), list(documented_keys()), ids=str)
def test_guide_lists_every_key(key: str, name: str, model: type[BaseModel]) -> None:
    """Every key stands in the configuration guide with the default that is in force, and has a description."""
    field = model.model_fields[name]
    assert field.description
    row = re.search(rf"^\| `{re.escape(key)}` \| (.*?) \|", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    assert row is not None, f"{key} is missing in the guide"
    if isinstance(field.default, str | int | float | bool) and name != "time_zone":
        default = (
            str(field.default).lower() if isinstance(field.default, bool) else f"{field.default}" or "none"
        )
        assert row[1].strip("`") == default.removesuffix(".0")


def test_zone_entry_by_name() -> None:
    """Code may build a zone entry by its field's name instead of TOML's ``from``."""
    assert ZoneFrom.model_validate({"month": "2026-12", "zone": "UTC"}).month == "2026-12"
