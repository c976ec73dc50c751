"""The time zone database: always the installed package's, and a renewed one never moves a day that is counted."""

from __future__ import annotations

import ast
import subprocess
import sys
import zoneinfo
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from random import Random

import msgspec
import pytest

import metering.calendar
import schemas
from metering.calendar import Calendar, ZoneRules
from schemas.events import Event
from schemas.time_zones import ZONE_DATABASE, ZoneInfo
from streams.accounts import AccountRecord, RulesChanged, decode_account, encode_record
from streams.offsets import CountedOffsets
from streams.store import Table
from tests.support.commands import environment
from tests.support.partitions import Partitions

HOUR, DAY = 3_600, 86_400
YEAR_2009, YEAR_2030 = 1_230_768_000, 1_893_456_000
ALMATY_CHANGED = int(datetime(2024, 2, 29, 18, tzinfo=UTC).timestamp())
"""From here on Almaty is at UTC+5, says tzdata from 2024a on; any older one goes on with UTC+6."""
COUNTED = int(datetime(2024, 5, 1, 18, 30, tzinfo=UTC).timestamp())
OLD, NEW = "Etc/GMT-6", "Asia/Almaty"
Renew = Callable[[str], None]


@pytest.fixture
def renew(monkeypatch: pytest.MonkeyPatch) -> Renew:
    """Return a function that installs a database in which every zone is the given one."""
    installed = ZoneInfo
    return lambda zone: monkeypatch.setattr(metering.calendar, "ZoneInfo", lambda _name: installed(zone))


def event(kind: str, message_id: str, at: int, **fields: object) -> Event:
    """Return an event of account A."""
    good = Event("canonical", "A", "1", "sent", message_id, at, at * 1000, "DE", "491700000001")
    return msgspec.structs.replace(good, kind=kind, **fields)


def restarted(partitions: Partitions) -> None:
    """Start the worker anew, as after an upgrade."""
    for partition in partitions.partitions:
        partition.crash()


def count(partitions: Partitions, *events: Event) -> None:
    """Meter events."""
    partitions.append(events)
    for partition in partitions.partitions:
        partition.work(Random(1))


def stored_account(partitions: Partitions) -> AccountRecord:
    """Return the record of account A as it is in the store."""
    stored = partitions.partitions[0].store.get(Table.ACCOUNTS, b"A")
    assert stored is not None
    return decode_account(stored)


def test_only_the_installed_package_is_asked(tmp_path: Path) -> None:
    """Neither the machine's files nor the environment say what a zone means, or which zones there are."""
    foreign = tmp_path / "Europe"
    foreign.mkdir()
    tokyo = (files("tzdata") / "zoneinfo" / "Asia" / "Tokyo").read_bytes()
    for name in ("Berlin", "Nowhere"):
        (foreign / name).write_bytes(tokyo)
    program = (
        "from metering.calendar import Calendar; from runtime.setting_tables import available_timezones as known\n"
        "print(Calendar((('', 'Europe/Berlin'),)).offset_changes(1700000000, 1700000001)[0][1],"
        " 'Europe/Nowhere' in known(), 'Europe/Berlin' in known())"
    )
    said = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(PYTHONTZPATH=str(tmp_path)),
        capture_output=True,
        check=True,
    )
    assert said.stdout.split() == [b"3600", b"False", b"True"]
    assert zoneinfo.TZPATH == ()


def test_no_module_of_the_product_takes_zones_from_elsewhere() -> None:
    """Whoever imports ``zoneinfo`` directly may read a zone before the search path is set."""
    root = Path(schemas.__file__).parent.parent
    packages = ("schemas", "metering", "sinks", "streams", "gateway", "runtime", "cli", "simulation")
    found = set()
    for path in [path for package in packages for path in (root / package).rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if any(name in ("zoneinfo", "pytz", "dateutil", "tzlocal") for name in names):
                found.add(path.relative_to(root).as_posix())
    assert found == {"schemas/time_zones.py"}


@pytest.mark.parametrize(
    "rules",
    [
        (("", "UTC"),),
        (("", "Europe/Berlin"),),
        (("", "Africa/Casablanca"),),
        (("", "Africa/Cairo"),),
        (("", "Asia/Gaza"),),
        (("", "Australia/Lord_Howe"),),
        (("", "Pacific/Apia"),),
        (("", "Asia/Pyongyang"),),
        (("", "America/Caracas"),),
        (("", "UTC"), ("2012-01", "Pacific/Apia"), ("2015-04", "America/Sao_Paulo")),
    ],
)
def test_offsets_are_those_of_every_instant(rules: ZoneRules) -> None:
    """Changes are found to the second: each instant, above all those around a change, has the offset that was noted."""
    calendar = Calendar(rules)
    noted = CountedOffsets(YEAR_2009, YEAR_2030, calendar.offset_changes(YEAR_2009, YEAR_2030), "")
    random = Random(str(rules))
    edges = [at + step for at, _ in noted.changes[1:] for step in (-1, 0, 1)]
    for at in [*edges, *(random.randrange(YEAR_2009, YEAR_2030) for _ in range(3000))]:
        distance = calendar._local(at).utcoffset()
        assert distance is not None
        assert noted.at(at) == distance.total_seconds()
    assert all(one[1] != other[1] for one, other in zip(noted.changes, noted.changes[1:], strict=False))


def test_a_database_that_moves_counted_days_is_refused(tmp_path: Path, renew: Renew) -> None:
    """The refusal names the zone, the first instant that is counted elsewhere, both databases and the ways out."""
    renew(OLD)
    partitions = Partitions(tmp_path, 1, lambda _: NEW)
    count(partitions, event("sent", "m0", ALMATY_CHANGED - 90 * DAY), event("sent", "m", COUNTED))
    restarted(partitions)
    renew(NEW)
    with pytest.raises(RulesChanged) as refused:
        restarted(partitions)
    for part in (
        "account A",
        NEW,
        "2024-02-29T18:00:00Z",
        "UTC+06:00",
        "UTC+05:00",
        ZONE_DATABASE,
        "Install",
        "anew",
    ):
        assert part in str(refused.value)
    renew(OLD)
    partitions.partitions[0].crash()
    count(partitions, event("delivered", "m", COUNTED + 60))
    assert min(min(values) for values in partitions.totals().values()) == 0
    partitions.close()


@pytest.mark.parametrize(
    "times",
    [
        [ALMATY_CHANGED - 90 * DAY, ALMATY_CHANGED - HOUR],
        [ALMATY_CHANGED - 301],
    ],
)
def test_a_difference_only_in_the_future_is_taken_over(
    tmp_path: Path, renew: Renew, times: list[int]
) -> None:
    """Days to come are counted by the new database, and from then on the old one is the one that is refused."""
    renew(OLD)
    partitions = Partitions(tmp_path, 1, lambda _: NEW)
    count(partitions, *(event("sent", f"m{at}", at) for at in times))
    renew(NEW)
    restarted(partitions)
    count(partitions, event("sent", "m", COUNTED))
    local_day = datetime.fromtimestamp(COUNTED, ZoneInfo(NEW)).date().toordinal() - 719_163
    assert local_day in {key[1] for key in partitions.totals()}
    renew(OLD)
    with pytest.raises(RulesChanged, match="2024-02-29T18:00:00Z"):
        restarted(partitions)


def test_history_before_the_oldest_event_may_be_corrected(tmp_path: Path, renew: Renew) -> None:
    """A difference of years in which nothing was counted stops nobody."""
    renew("Etc/GMT-5")
    partitions = Partitions(tmp_path, 1, lambda _: NEW)
    count(partitions, event("sent", "m", COUNTED))
    renew(NEW)
    restarted(partitions)
    partitions.close()


def test_a_record_from_before_offsets_were_kept_is_read_and_completed(tmp_path: Path, renew: Renew) -> None:
    """It says nothing of the database it was counted by, so the installed one is noted with the next event."""
    old = msgspec.msgpack.encode([[["", "UTC"]], COUNTED, 0, 0, -(1 << 31), {}, COUNTED])
    assert decode_account(old) == AccountRecord(newest_at=COUNTED, oldest_at=COUNTED)
    renew(OLD)
    partitions = Partitions(tmp_path, 1, lambda _: NEW)
    count(partitions, event("sent", "m", COUNTED))
    partition = partitions.partitions[0]
    fields = msgspec.msgpack.decode(encode_record(stored_account(partitions)))
    partition.store.apply({Table.ACCOUNTS: {b"A": msgspec.msgpack.encode(fields[:7])}}, {})
    assert stored_account(partitions).offsets is None
    renew(NEW)
    restarted(partitions)
    count(partitions, event("sent", "m2", COUNTED + 1))
    kept = stored_account(partitions).offsets
    assert kept is not None
    assert (kept.at(COUNTED), kept.database) == (5 * HOUR, ZONE_DATABASE)
    partitions.close()


def test_what_is_kept_grows_with_the_account_s_time_and_stays_small(tmp_path: Path) -> None:
    """A backfill of older years and years to come are covered; twenty years are a few hundred bytes."""
    partitions = Partitions(tmp_path, 1, lambda _: "Europe/Berlin")
    times = [COUNTED, COUNTED + 900 * DAY, COUNTED - 900 * DAY, YEAR_2009, YEAR_2030]
    kept: CountedOffsets | None = None
    for number, at in enumerate(times):
        count(partitions, event("sent", f"m{number}", at))
        kept = stored_account(partitions).offsets
        assert kept is not None
        assert kept.since <= min(times[: number + 1])
        assert kept.until > max(times[: number + 1]) + 300
    assert len(encode_record(stored_account(partitions))) < 600
    assert kept is not None
    assert kept.changes == Calendar((("", "Europe/Berlin"),)).offset_changes(kept.since, kept.until)
    partitions.close()


def test_an_account_that_counted_nothing_keeps_nothing() -> None:
    """An account that is only held has no days that could move."""
    record = AccountRecord(oldest_at=1 << 62)
    assert decode_account(encode_record(record)).offsets is None
