"""Settings in force: what changes live, what waits for a restart, and that zones never part from what is counted."""

from __future__ import annotations

import threading
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import pytest

from cli.live import metering_of, zones_agree_by
from cli.notices import alert_options
from cli.options import live_worker_options
from cli.prices import Prices
from runtime.clock import ManualClock
from runtime.setting_tables import ZoneRules
from runtime.settings import Settings, SettingsError
from runtime.settings_in_force import LIVE_GATEWAY_KEYS, Derived, Metering, SettingsInForce, changed_keys
from sinks.clickhouse.client import ClientPool, open_client
from sinks.notify.email import EmailChannel
from streams.alert_options import AlertOptions

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "configuration.md"
UTC_ZONES = (("", "UTC"),)
KOLKATA = (("", "Asia/Kolkata"),)
NOVEMBER_2026 = 1_793_577_600
EVENT = (
    b'{"account":"9001","number":"7001","kind":"delivered","message_id":"m-1","occurred_at":1790000000,'
    b'"user_phone":"4917012345678"}'
)


def settings(**values: Any) -> Settings:
    """Return validated settings from plain values."""
    return Settings.model_validate(values)


def accounts(**zones: Any) -> Settings:
    """Return settings that list accounts (``a9001`` is account 9001) by their zone; None = no zone is given."""
    tables = {name[1:]: {} if zone is None else {"time_zone": zone} for name, zone in zones.items()}
    return settings(accounts=tables)


def in_force(started: Settings, metering: Metering) -> SettingsInForce:
    """Return settings as a process of that role has them in November 2026."""
    return SettingsInForce(started, metering, zones_agree_by(lambda: NOVEMBER_2026))


def options_of_alerts(live: SettingsInForce) -> AlertOptions:
    """Return what a worker's alerts go by; nothing is asked of ClickHouse before there is a notice."""
    clock, clients = ManualClock(), ClientPool(lambda: open_client("http://127.0.0.1:1/none"))
    return alert_options(live, Prices(live, clients, clock), clients, clock, Executor())


def test_secrets_and_tokens_change_at_once() -> None:
    """Secrets, tokens and the verify token of fresh settings are in force after one step, and named."""
    live = in_force(settings(gateway={"app_secrets": ["old-secret"], "port": 1}), "none")
    fresh = settings(
        gateway={
            "app_secrets": ["new-secret"],
            "verify_token": "a-token-1",
            "events_tokens": ["e-token-1"],
            "port": 1,
        }
    )
    taken = live.take(fresh)
    assert sorted(taken.changed) == ["gateway.app_secrets", "gateway.events_tokens", "gateway.verify_token"]
    assert taken.waiting == ()
    assert live.settings.gateway == fresh.gateway


def test_what_cannot_change_is_named_and_kept() -> None:
    """Every other key keeps the value of the start, and is named until the file says again what is in force."""
    live = in_force(settings(partitions=4, gateway={"app_secrets": ["old-secret"]}), "sole")
    fresh = settings(
        partitions=8,
        data="/elsewhere",
        clickhouse="http://h:8123/d",
        unknown_accounts="refuse",
        gateway={"app_secrets": ["new-secret"], "port": 9000},
        worker={"port": 9001},
        kafka={"prefix": "p."},
    )
    taken = live.take(fresh)
    assert sorted(taken.waiting) == [
        "clickhouse", "data", "gateway.port", "kafka.prefix", "partitions", "unknown_accounts", "worker.port",
    ]  # fmt: skip
    assert taken.changed == ("gateway.app_secrets",)
    assert (live.settings.partitions, live.settings.gateway.port) == (4, 8080)
    assert live.take(settings(gateway={"app_secrets": ["new-secret"]})).waiting == ()


def test_emails_and_the_server_that_sends_them_change_together() -> None:
    """Settings that are valid as a whole are in force as a whole: nobody is written to without a server."""
    live = in_force(settings(), "sole")
    channels = options_of_alerts(live).channels
    server = {"host": "mail.example.com", "sender": "convometer@example.com", "mails_per_hour_max": 7}
    fresh = settings(dashboard={"mail": server}, alerts={"emails": [{"to": ["billing@example.com"]}]})
    taken = live.take(fresh)
    assert taken.waiting == ()
    assert {"alerts.emails", "dashboard.mail.host", "dashboard.mail.sender"} <= set(taken.changed)
    assert live.settings.dashboard.mail == fresh.dashboard.mail
    [email] = [channel for channel in channels().values() if isinstance(channel, EmailChannel)]
    assert email._server == fresh.dashboard.mail
    assert live.take(settings()).waiting == ()
    assert live.settings.dashboard == settings().dashboard


def test_how_long_a_notice_is_tried_changes_live() -> None:
    """What is said to be in force is what notices are tried by."""
    live = in_force(settings(), "sole")
    options = options_of_alerts(live)
    assert options.retry().give_up_seconds == 72 * 3600
    assert live.take(settings(alerts={"give_up_hours": 240})).changed == ("alerts.give_up_hours",)
    assert options.retry().give_up_seconds == 240 * 3600


def test_a_new_account_in_utc_is_live_everywhere() -> None:
    """An account that changes no zone is known in every role at once, secrets included."""
    roles: tuple[Metering, ...] = ("none", "shared", "sole")
    for metering in roles:
        live = in_force(settings(unknown_accounts="refuse"), metering)
        fresh = settings(unknown_accounts="refuse", accounts={"9001": {"app_secrets": ["its-secret"]}})
        assert live.take(fresh).changed == ("accounts.9001",)
        assert live.settings.known_accounts() == frozenset({"9001"})


def test_a_worker_reads_by_the_accounts_of_now() -> None:
    """A worker that refuses unknown accounts takes the events of a new one once the settings list it."""
    live = in_force(settings(unknown_accounts="refuse"), "shared")
    reading = live_worker_options(live).reading
    assert [refusal.reason for refusal in reading.read_events(EVENT, NOVEMBER_2026 * 1000)[1]] == [
        "unknown_account"
    ]
    live.take(settings(unknown_accounts="refuse", accounts={"9001": {}}))
    events, refusals = reading.read_events(EVENT, NOVEMBER_2026 * 1000)
    assert ([event.account for event in events], refusals) == (["9001"], [])


def test_a_new_zone_is_live_where_every_partition_is_metered_here() -> None:
    """The sole worker counts a new account by its zone from its first event on."""
    live = in_force(settings(), "sole")
    options = live_worker_options(live)
    assert live.take(accounts(a9001="Asia/Kolkata")).waiting == ()
    assert options.zones_of("9001") == KOLKATA


def test_a_new_zone_waits_where_others_meter_too() -> None:
    """Beside other workers, which may not have it yet, a new zone waits, with the whole entry of the account."""
    live = in_force(settings(), "shared")
    taken = live.take(accounts(a9001="Asia/Kolkata", a9002=None))
    assert (taken.changed, taken.waiting) == (("accounts.9002",), ("accounts.9001",))
    assert live.zones_of("9001") == UTC_ZONES
    assert list(live.settings.accounts) == ["9002"]


def test_a_gateway_lets_no_account_in_before_its_zone_is_known_to_workers() -> None:
    """A gateway counts nothing, but an account with a zone of its own comes in by a restart: workers go first."""
    live = in_force(accounts(a9001="Asia/Kolkata"), "none")
    taken = live.take(accounts(a9001="America/Sao_Paulo", a9002="Asia/Kolkata"))
    assert taken.waiting == ("accounts.9002",)
    assert list(live.settings.accounts) == ["9001"]
    assert live.take(settings()).changed == ("accounts.9001",)
    assert live.take(accounts(a9001="Asia/Kolkata")).changed == ("accounts.9001",)


@pytest.mark.parametrize("metering", ["shared", "sole"])
def test_a_zone_that_was_counted_by_is_not_changed(metering: Metering) -> None:
    """An account that was metered keeps its zone: the settings are refused as a whole, and nothing of them applies."""
    live = in_force(settings(gateway={"app_secrets": ["old-secret"]}), metering)
    assert live.zones_of("9001") == UTC_ZONES
    before = live.settings
    fresh = settings(
        gateway={"app_secrets": ["new-secret"]}, accounts={"9001": {"time_zone": "Asia/Kolkata"}, "9002": {}}
    )
    with pytest.raises(SettingsError, match=r"accounts\.9001\.time_zone: found another zone") as raised:
        live.take(fresh)
    assert len(raised.value.faults) == 1
    assert live.settings is before
    assert live.zones_of("9001") == UTC_ZONES


def test_a_zone_for_a_later_month_waits() -> None:
    """What a restart would accept, a zone from a month that has not begun, is no fault: it waits for the restart."""
    live = in_force(accounts(a9001="Asia/Kolkata"), "sole")
    live.zones_of("9001")
    later = [{"zone": "Asia/Kolkata"}, {"from": "2027-02", "zone": "UTC"}]
    fresh = settings(accounts={"9001": {"time_zone": later, "app_secrets": ["its-secret"]}})
    taken = live.take(fresh)
    assert taken.waiting == ("accounts.9001.time_zone",)
    assert taken.changed == ("accounts.9001.app_secrets",)
    assert live.zones_of("9001") == live.settings.zone_rules()["9001"] == KOLKATA


def test_an_account_taken_out_loses_its_secrets_but_not_its_zone() -> None:
    """Beside other workers, an account without an entry keeps its zone until the restart, which is named."""
    live = in_force(accounts(a9001="Asia/Kolkata"), "shared")
    taken = live.take(settings())
    assert (taken.changed, taken.waiting) == (("accounts.9001",), ("accounts.9001.time_zone",))
    assert live.settings.accounts == {}
    assert live.zones_of("9001") == KOLKATA


def test_asking_for_a_zone_and_changing_it_follow_on_each_other() -> None:
    """A thread that asks while the zones change waits for the change: else it would count by the old zone."""
    live, answers = in_force(settings(), "sole"), []
    asking = threading.Thread(target=lambda: answers.append(live.zones_of("9001")))

    class AskedMeanwhile(Settings):
        def zone_rules(self) -> dict[str, ZoneRules]:
            asking.start()
            asking.join(0.2)
            assert not answers
            return super().zone_rules()

    live.take(AskedMeanwhile.model_validate({"accounts": {"9001": {"time_zone": "Asia/Kolkata"}}}))
    asking.join()
    assert answers == [KOLKATA]


def test_what_is_derived_follows_and_is_made_once() -> None:
    """A thing made of the settings is made anew after a change, and only then."""
    live = in_force(settings(), "none")
    made: list[Settings] = []

    def make(given: Settings) -> int:
        made.append(given)
        return len(made)

    derived = Derived(live, make)
    assert (derived(), derived()) == (1, 1)
    live.take(settings())
    assert derived() == 1
    live.take(accounts(a9001=None))
    assert (derived(), derived()) == (2, 2)
    assert made[-1] is live.settings


def test_derived_defaults_are_not_named() -> None:
    """A key that only follows from another one is not named: the other is."""
    assert list(changed_keys(settings(), settings(data="/elsewhere"))) == ["data"]


def test_only_one_process_over_the_embedded_log_meters_alone() -> None:
    """On Kafka even ``run`` may have other workers beside it; a gateway meters nothing."""
    kafka = settings(broker="kafka://h:9092")
    assert metering_of(settings(), "run") == "sole"
    assert [metering_of(kafka, role) for role in ("run", "worker", "gateway")] == ["shared", "shared", "none"]


@pytest.mark.parametrize("name", LIVE_GATEWAY_KEYS)
def test_the_guide_says_what_is_live(name: str) -> None:
    """The guide's table names every key of the gateway that changes live."""
    section = GUIDE.read_text(encoding="utf-8").partition("## Changing settings without a restart")[2]
    row = next(line for line in section.splitlines() if f"`gateway.{name}`" in line)
    assert row.endswith("| live |")
