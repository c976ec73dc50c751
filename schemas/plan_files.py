"""Reads the file of plans (TOML) and names every fault in it.

Owns what entries of one account or number must be to each other. One entry by itself is ``schemas.plan_entries``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from schemas.plan_entries import PlanEntry, entry_of
from schemas.plans import Plan, PlanBook


class PlanFaults(ValueError):
    """A plan file cannot be used. ``faults`` lists everything that is wrong with it, one sentence each."""

    def __init__(self, name: str, faults: Sequence[str]) -> None:
        """Take the file's name and the faults."""
        self.faults = list(faults)
        count = f"{len(self.faults)} faults" if len(self.faults) > 1 else "1 fault"
        super().__init__("\n  - ".join([f"{count} in {name}:", *self.faults]))


@dataclass(frozen=True, slots=True)
class _Placed:
    """An entry, what a fault of it is called by, and the days that may be left out."""

    label: str
    entry: PlanEntry
    effective: date
    activated: date


def load_plans(path: Path | None, markets: frozenset[str] | None = None) -> PlanBook:
    """Return the plans of a file; no file = no plans.

    Raises:
        PlanFaults: with everything that is wrong.
    """
    if path is None:
        return PlanBook()
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise PlanFaults(str(path), [f"found {error.strerror or error}, expected a readable file"]) from error
    except UnicodeDecodeError as error:
        raise PlanFaults(str(path), ["found bytes that are not UTF-8, expected TOML in UTF-8"]) from error
    return read_plans(text, str(path), markets)


def read_plans(text: str, name: str, markets: frozenset[str] | None = None) -> PlanBook:
    """Return the plans of a file's text.

    Args:
        text: TOML with a list ``plans``.
        name: of the file, for faults.
        markets: the markets that a price may be for; None = any.

    Raises:
        PlanFaults: with everything that is wrong.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PlanFaults(name, [f"found a fault ({error}), expected TOML"]) from error
    faults = [f"{key}: found an unknown key, expected [[plans]]" for key in content if key != "plans"]
    entries = content.get("plans", [])
    if not isinstance(entries, list):
        raise PlanFaults(name, [*faults, "plans: found a table, expected a list: [[plans]]"])
    labelled: list[tuple[str, PlanEntry]] = []
    for place, item in enumerate(entries, 1):
        entry, own = entry_of(item)
        label = _label(place, item)
        own += entry.faults(markets) if entry else []
        faults += [f"{label} {fault}" for fault in own]
        if entry and (entry.effective or entry.activated):
            labelled.append((label, entry))
    plans: list[Plan] = []
    for history in _histories(labelled):
        faults += _faults_between(history)
        plans += _plans_of(history)
    if faults:
        raise PlanFaults(name, faults)
    return PlanBook(tuple(plans))


def _label(place: int, item: object) -> str:
    account = item.get("account") if isinstance(item, dict) else None
    number = item.get("number") if isinstance(item, dict) else None
    named = f" (account {account}{f', number {number}' if number else ''})" if account else ""
    return f"plans[{place}]{named}:"


def _histories(labelled: list[tuple[str, PlanEntry]]) -> list[list[_Placed]]:
    """Return the entries of each account and number, oldest first."""
    by_scope: dict[tuple[str, str], list[tuple[date, str, PlanEntry]]] = {}
    for label, entry in labelled:
        effective = entry.effective or entry.activated
        assert effective is not None, "an entry without either has a fault of its own"
        by_scope.setdefault((entry.account, entry.number), []).append((effective, label, entry))
    return [_placed(sorted(history, key=lambda each: each[0])) for history in by_scope.values()]


def _placed(history: list[tuple[date, str, PlanEntry]]) -> list[_Placed]:
    placed: list[_Placed] = []
    for effective, label, entry in history:
        activated = entry.activated or _inherited(entry, placed) or effective
        placed.append(_Placed(label, entry, effective, activated))
    return placed


def _inherited(entry: PlanEntry, before: list[_Placed]) -> date | None:
    """Return the activation of the licence that goes on, if an entry does not name one."""
    if not before or before[-1].entry.until is not None or before[-1].entry.licence != entry.licence:
        return None
    return before[-1].activated


def _faults_between(history: list[_Placed]) -> Iterator[str]:
    before: _Placed | None = None
    for each in history:
        for fault in (*_faults_of_dates(each, before), *(_faults_after(each, before) if before else ())):
            yield f"{each.label} {fault}"
        before = each


def _faults_of_dates(each: _Placed, before: _Placed | None) -> Iterator[str]:
    entry, activated = each.entry, each.activated
    if activated > each.effective:
        yield f"activated: found {activated}, expected no day after effective {each.effective}"
    if before is None and activated != each.effective:
        yield f"effective: found {each.effective}, expected the activation {activated}: it is the first entry"
    if entry.until is not None:
        if entry.until < each.effective:
            yield f"until: found {entry.until}, expected no day before effective {each.effective}"
        if (entry.until + timedelta(days=1)).day != 1:
            yield f"until: found {entry.until}, expected the last day of a month"


def _faults_after(each: _Placed, before: _Placed) -> Iterator[str]:
    entry, earlier = each.entry, before.entry
    activated, activated_before = each.activated, before.activated
    if each.effective == before.effective:
        yield f"effective: found {each.effective} twice, expected one entry for each first day"
        return
    if each.effective.day != 1 and not (earlier.until and earlier.until < each.effective):
        yield f"effective: found {each.effective}, expected the 1st of a month: terms change with the month"
    is_new = activated == each.effective
    if activated != activated_before and not is_new:
        yield f"activated: found {activated}, expected {activated_before} (the licence goes on) or {each.effective}"
    if not is_new and earlier.until is not None:
        yield f"activated: found {activated}, expected {each.effective}: the licence before ended {earlier.until}"
    if not is_new and entry.licence != earlier.licence:
        yield f"licence: found {entry.licence} after {earlier.licence}, expected activated = {each.effective} with it"
    paid = entry.licence == "annual" and not is_new and each.effective.month != activated.month
    if paid and entry.currency != earlier.currency:
        yield (
            f"currency: found {entry.currency} within a year paid in {earlier.currency}, expected a change from a "
            "renewal on"
        )


def _plans_of(history: list[_Placed]) -> Iterator[Plan]:
    for each in history:
        entry = each.entry
        yield Plan(
            account=entry.account,
            number=entry.number,
            effective=each.effective,
            activated=each.activated,
            licence=entry.licence,
            price=entry.price,
            currency=entry.currency,
            vat_percent=entry.vat_percent,
            until=entry.until,
            mau_package=entry.mau_package,
            mau_rule=entry.mau_rule,
            amau_price=entry.amau_price,
            conversation_prices={type_: price for type_, price in entry.conversation_prices.items()},  # noqa: C416 - widens the key
            conversation_market_prices={
                (market, type_): price
                for market, prices in entry.conversation_market_prices.items()
                for type_, price in prices.items()
            },
            rate_currency=entry.rate_currency or "",
            volume_tiers=entry.volume_tiers,
            conversation_budget=entry.conversation_budget,
            alert_thresholds=entry.alert_thresholds,
        )
