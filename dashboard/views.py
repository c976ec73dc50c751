"""What a page shows, as it stands in its URL: account, duration, business numbers, countries.

Owns reading and writing those parameters. Every page, download, e-mail and link goes through here, so that they are
about the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from dashboard.periods import (
    DEFAULT,
    TITLES,
    Duration,
    Period,
    PeriodFault,
    custom_period,
    days_text,
    period_of,
    previous_period,
)
from sinks.clickhouse.reader import Filters

CHOICES_MAX = 300
"""Numbers or countries that one URL may name."""
_TEXT_MAX = 200


@dataclass(frozen=True, slots=True)
class View:
    """What is shown."""

    account: str
    duration: Duration
    period: Period
    numbers: tuple[str, ...] = ()
    """Chosen ones, sorted; empty = all."""
    countries: tuple[str, ...] = ()

    @property
    def previous(self) -> Period | None:
        """Return the days it is compared with."""
        return previous_period(self.duration, self.period)

    @property
    def title(self) -> str:
        """Return the name of the duration."""
        return TITLES[self.duration]

    @property
    def days_text(self) -> str:
        """Return the days, written out."""
        return days_text(self.period)

    def filters(self, period: Period | None = None) -> Filters:
        """Return what to ask the totals, of the view's own days or of others."""
        days = period or self.period
        return Filters(days.first, days.last, (self.account,), self.numbers, self.countries)

    def query(self, **changes: str) -> str:
        """Return the URL's query that leads to this view, with some parameters replaced; "" removes one."""
        parameters: list[tuple[str, str]] = [("account", self.account), ("duration", self.duration.value)]
        if self.duration is Duration.CUSTOM:
            parameters += [("from", str(self.period.first)), ("to", str(self.period.last))]
        parameters += [("number", number) for number in self.numbers]
        parameters += [("country", country) for country in self.countries]
        kept = [(key, value) for key, value in parameters if key not in changes]
        return urlencode(kept + [(key, value) for key, value in changes.items() if value])

    def fixed(self) -> View:
        """Return the same view by its days: what is sent today shows the same tomorrow."""
        return replace(self, duration=Duration.CUSTOM)


def view_of(
    parameters: QueryParams, account: str, today: date, length_max_days: int
) -> tuple[View, list[str]]:
    """Return the view that a URL asks for, and what was wrong with it.

    A fault leaves the default in place of what cannot be shown, so that the page can say so beside the form.

    Args:
        parameters: of the URL.
        account: whose numbers; the caller has checked that they may be seen.
        today: the account's local day.
        length_max_days: longest range.
    """
    faults: list[str] = []
    duration, period = DEFAULT, period_of(DEFAULT, today)
    name = parameters.get("duration", DEFAULT.value)
    if name not in TITLES:
        faults.append(f"duration: expected one of {', '.join(TITLES)}")
    elif name != Duration.CUSTOM:
        duration = Duration(name)
        period = period_of(duration, today)
    else:
        try:
            period = custom_period(
                parameters.get("from", ""), parameters.get("to", ""), today, length_max_days
            )
            duration = Duration.CUSTOM
        except PeriodFault as fault:
            faults.append(str(fault))
    numbers, number_faults = _choices("number", parameters.getlist("number"))
    countries, country_faults = _choices("country", parameters.getlist("country"))
    return View(account, duration, period, numbers, countries), faults + number_faults + country_faults


def _choices(name: str, values: Iterable[str]) -> tuple[tuple[str, ...], list[str]]:
    """Return the chosen values; the empty one means all, as the first option of a list does."""
    chosen = tuple(sorted({value for value in values if value}))
    if len(chosen) > CHOICES_MAX or any(len(value) > _TEXT_MAX for value in chosen):
        return (), [f"{name}: at most {CHOICES_MAX} of at most {_TEXT_MAX} characters"]
    return chosen, []


def query_of(parameters: Mapping[str, str]) -> str:
    """Return parameters as the query of a URL, the empty ones left out."""
    return urlencode({key: value for key, value in parameters.items() if value})
