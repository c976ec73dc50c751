"""What happens now: the last minutes, how far behind the totals are, and what was refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response

from dashboard.asking import ask_freshness, ask_ladder
from dashboard.live import SAMPLE_SECONDS, Minute
from dashboard.ports import RefusedRow, RefusedUnavailable
from dashboard.site import Site, Visit
from sinks.clickhouse.ladder_health import RECENT_SECONDS

REFUSED_SHOWN: Final = 20
_REFUSED_READ: Final = 500
"""Newest dead letters that are looked through for those of an account."""
_HEIGHT: Final = 100
_STEP: Final = 10
_REFUSED_SECONDS: Final = 2


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of the picture of minutes, in its own units."""

    x: int
    y: int
    height: int
    width: int
    kind: str


async def live_page(visit: Visit) -> Response:
    """Show the last hour of an account."""
    account = await visit.account()
    if not account:
        return await visit.render("nothing.html", account="")
    info = await visit.site.account_info(account)
    now = visit.site.clock.now_seconds()
    minutes = visit.site.live.look().minutes(account, now)
    fresh = await ask_freshness(visit.site)
    return await visit.render(
        "live.html",
        account=account,
        info=info,
        minutes=minutes,
        bars=bars_of(minutes),
        peak=max((max(minute.messages, minute.incoming) for minute in minutes), default=0),
        sums=sums_of(minutes[-6:-1]),
        hour=sums_of(minutes),
        sampled_at=visit.site.live.sampled_at,
        now=visit.site.now(),
        fresh=fresh,
        ladder=await ask_ladder(visit.site, account),
        ladder_hours=RECENT_SECONDS // 3600,
        refused=await refused_rows(visit),
        refresh_seconds=SAMPLE_SECONDS,
    )


def bars_of(minutes: Sequence[Minute]) -> list[Bar]:
    """Return two bars a minute, outgoing and incoming; a correction that takes away has none."""
    peak = max((max(minute.messages, minute.incoming) for minute in minutes), default=0)
    bars = []
    for place, minute in enumerate(minutes):
        for offset, kind, count in ((0, "outgoing", minute.messages), (4, "incoming", minute.incoming)):
            height = -(-count * _HEIGHT // peak) if count > 0 else 0
            bars.append(Bar(place * _STEP + offset, _HEIGHT - height, height, 4, kind))
    return [bar for bar in bars if bar.height]


def sums_of(minutes: Sequence[Minute]) -> dict[str, int]:
    """Return what some minutes added up to."""
    return {
        name: sum(getattr(minute, name) for minute in minutes)
        for name in ("messages", "delivered", "read", "not_delivered", "incoming")
    }


async def refused_rows(visit: Visit) -> list[RefusedRow] | None:
    """Return the newest dead letters of the accounts that the visitor may see; None = they cannot be read now.

    Those that name no account are shown to whoever may see all: they could be anyone's.
    """
    try:
        rows = await newest_refused(visit.site)
    except RefusedUnavailable:
        return None
    principal = visit.principal
    seen = [
        row for row in rows if principal.accounts is None or (row.account and principal.sees(row.account))
    ]
    return seen[:REFUSED_SHOWN]


async def newest_refused(site: Site) -> list[RefusedRow]:
    """Return the newest dead letters of everybody, read at most every two seconds."""
    moment = site.clock.now_seconds() // _REFUSED_SECONDS
    return await site.cache.get("refused", lambda: site.meter.refused(_REFUSED_READ), moment)
