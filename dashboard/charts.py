"""The dashboard's charts, made of what its pages show.

Owns which figures go into which chart. How a chart looks is ``sinks.exports.charts``'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from itertools import accumulate
from typing import Final, Literal

import msgspec

from dashboard.formats import country_name, month_text
from dashboard.growth import Growth
from dashboard.http import Refusal
from dashboard.ports import AccountInfo
from dashboard.usage import TITLES, Summary
from dashboard.views import View
from metering.calendar import last_day_of
from sinks.exports.charts import ChartSeries, UsageChart, usage_chart
from sinks.exports.mau_chart import ActiveUsersChart, mau_chart
from sinks.exports.pictures import MEDIA_TYPES, PictureFormat

ThemeName = Literal["light", "dark"]
FILE_FORMATS: Final[Mapping[PictureFormat, str]] = MEDIA_TYPES
FILE_WIDTH_PIXELS: Final = 900
_WIDTHS_PIXELS: Final = range(260, 1601)
_WIDTH_STEP_PIXELS: Final = 10
_NAMES_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class Chart:
    """A specification that page and files draw."""

    spec: dict[str, object]

    def as_json(self) -> bytes:
        """Return it for the page."""
        return msgspec.json.encode(self.spec)


def picture_format(text: str) -> PictureFormat:
    """Return a format of pictures by its name.

    Raises:
        Refusal: 404.
    """
    for known in FILE_FORMATS:
        if text == known:
            return known
    raise Refusal(404, f"Charts come as {', '.join(FILE_FORMATS)}.")


def theme_of(text: str) -> ThemeName:
    """Return a theme by its name; the light one unless the dark one is asked for."""
    return "dark" if text == "dark" else "light"


def width_of(text: str) -> int:
    """Return a chart's width for its place in a page, in steps; what is no width is that of files."""
    if not text.isdecimal() or len(text) > 5:
        return FILE_WIDTH_PIXELS
    width = min(max(int(text), _WIDTHS_PIXELS.start), _WIDTHS_PIXELS.stop - 1)
    return width - width % _WIDTH_STEP_PIXELS


def usage_chart_of(
    summary: Summary,
    view: View,
    info: AccountInfo,
    theme: ThemeName,
    *,
    width_pixels: int = FILE_WIDTH_PIXELS,
) -> Chart:
    """Return the trend of a summary: the types stacked by day, and what is free of them as a line.

    Args:
        summary: the figures.
        view: what they are about, for the title.
        info: of the account.
        theme: of the page; files are light unless asked otherwise.
        width_pixels: of the whole picture.
    """
    series = tuple(
        # A correction may take away what is not here yet: half of it is another partition's to write.
        ChartSeries(key, TITLES[key], tuple(max(0, line.conversations.get(key, 0)) for line in summary.days))
        for key in summary.series
    )
    chart = UsageChart(
        title="Conversations by day",
        subtitle=_about(view, info),
        days=tuple(line.day for line in summary.days),
        series=series,
        unit="Conversations",
        width=width_pixels,
    )
    return Chart(usage_chart(chart, theme))


def _about(view: View, info: AccountInfo) -> str:
    parts = [info.title, view.days_text, info.zones_text(view.period.first, view.period.last)]
    for chosen, text, plural in (
        (view.numbers, info.number_title, "numbers"),
        (view.countries, country_name, "countries"),
    ):
        if chosen:
            parts.append(
                ", ".join(map(text, chosen)) if len(chosen) <= _NAMES_MAX else f"{len(chosen)} {plural}"
            )
    return " · ".join(parts)


def mau_chart_of(
    growth: Growth, info: AccountInfo, month: date, theme: ThemeName, *, width_pixels: int = FILE_WIDTH_PIXELS
) -> Chart:
    """Return how the active users of a month grew, beside the package and what is to be expected."""
    package = growth.package
    expected = None
    if package is not None and package.projected is not None and package.method != "complete":
        low, high = package.projected_low, package.projected_high
        expected = (
            package.projected if low is None else low,
            package.projected if high is None else high,
        )
    scope = info.number_title(growth.number) if growth.number else "whole account"
    chart = ActiveUsersChart(
        title="Monthly active users",
        subtitle=f"{info.title}, {scope} · {month_text(month)} · {info.zone_on(month)}",
        days=growth.days,
        # A figure that was just corrected may be below that of the day before until the rest of it is here.
        values=tuple(accumulate((max(0, count) for count in growth.so_far), max)),
        month_end=last_day_of(month),
        # A limit of 0 is a plan without a package.
        package=package.limit or None if package is not None else None,
        expected=expected,
        width=width_pixels,
    )
    return Chart(mau_chart(chart, theme))
