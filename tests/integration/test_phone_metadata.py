"""New phone metadata between two starts: what was taken stays where it is, and repeats of it are counted once.

A country is resolved once, where an event enters, and carried with it. So metadata that place numbers elsewhere
change nothing that was taken. A webhook that comes again is another event if it resolves to another country now; of
one message that is a tie, which the rules decide by name, whatever comes first.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import schemas.meta_updates
from cli.trial.faults import FaultPlan
from cli.trial.trial import make_traffic
from schemas.country import resolve
from simulation.generator import WorldOptions
from tests.integration.conftest import Database
from tests.support.clickhouse_http import ClickHouseHttp
from tests.support.node_life import Answers, answers_of_events, events_of, live, settings_in

START = 1_775_600_000  # 2026-04-07: users appear by phone and by BSUID


def moved(phone: str | None, bsuid: str | None) -> str:
    """Resolve as newer metadata would that place every second number in the country next to it."""
    country = resolve(phone, bsuid)
    return {"BR": "AR", "IN": "PK", "DE": "AT"}.get(country, country) if phone and int(phone) % 2 else country


@pytest.mark.parametrize("repeated_from", [0.0, 0.25])
def test_metadata_that_place_numbers_elsewhere_move_nothing_that_was_taken(
    http_database: Database,
    http_server: ClickHouseHttp,
    empty_name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    repeated_from: float,
) -> None:
    """Half of the traffic, a restart with other metadata, all of it from somewhere before: exact, in both orders."""
    traffic = make_traffic(WorldOptions(seed=5, users=40, days=6, start=START), FaultPlan(duplicate=True))
    middle, again = len(traffic.lines) // 2, int(len(traffic.lines) * repeated_from)
    before, after = traffic.lines[:middle], traffic.lines[again:]
    settings = settings_in(tmp_path, http_server.address(empty_name))

    with monkeypatch.context() as newer:
        newer.setattr(schemas.meta_updates, "resolve", moved)
        later = events_of(after)
    assert any(event.country == "AT" for event in later), "nothing would be shown"
    of_half, of_all, of_both = (
        answers_of_events(http_database.pool, events)
        for events in (events_of(before), events_of(traffic.lines), [*events_of(before), *later])
    )
    assert asyncio.run(live(settings, before)) == of_half
    monkeypatch.setattr(schemas.meta_updates, "resolve", moved)
    assert asyncio.run(live(settings)) == of_half
    last = asyncio.run(live(settings, after))
    assert last == of_both
    assert _sums(last) == _sums(of_all)


def _sums(answers: Answers) -> dict[str, int]:
    """Return what no country can change: how many messages of each kind there are, and users of whole accounts."""
    usage = {
        name: sum(int(str(row[name])) for row in answers["usage"])
        for name in ("total", "sent", "delivered", "read", "not_delivered")
    }
    usage["incoming"] = sum(int(str(row["count"])) for row in answers["incoming"])
    usage["mau"] = sum(int(str(row["mau"])) for row in answers["active-users"])
    usage["mau_phones"] = sum(int(str(row["mau_phones"])) for row in answers["active-users"])
    return usage
