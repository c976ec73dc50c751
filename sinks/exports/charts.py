"""Charts as Vega-Lite specifications: the page draws the same one that files are drawn from.

Owns what a chart of usage and one of active users show. All texts are data: they go into places that nothing parses.
Letters beyond Latin, Greek and Cyrillic need a font of the machine (in files) or of the reader (in the page).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from typing import Final

from sinks.exports.chart_looks import (
    ACTIVE_USERS_COLOUR,
    COLOURS,
    DAY_MS,
    EXACT_MAX,
    PACKAGE_COLOUR,
    THEMES,
    Spec,
    Theme,
    ThemeName,
    count_axis,
    count_text,
    day_axis,
    day_text,
    frame,
    milliseconds,
    sentence,
    shown,
    tooltip_day,
)

DAYS_MAX: Final = 400
OVERLAPPING: Final = frozenset({"free"})
"""Types that count what other types count too: drawn as lines, and never part of a stack or a sum."""
_SERIES_TITLE_MAX: Final = 40
_GAPS_DAYS_MAX: Final = 62
_NAMED_BARS_DAYS_MAX: Final = 31
_LEGEND_LETTER_PIXELS: Final = 6.7
_LEGEND_ENTRY_PIXELS: Final = 32
_SIDES_PIXELS: Final = 70
"""Padding and axis beside a chart."""


@dataclass(frozen=True, slots=True)
class ChartSeries:
    """One type's numbers by day."""

    key: str
    """One of ``COLOURS``, or of ``OVERLAPPING``."""
    title: str
    values: tuple[int, ...]
    """One for each day of the chart, 0 where nothing was counted."""

    @property
    def total(self) -> int:
        """Return the sum over all days."""
        return sum(self.values)


@dataclass(frozen=True, slots=True)
class UsageChart:
    """What a chart of usage shows."""

    title: str
    days: tuple[date, ...]
    """Consecutive."""
    series: tuple[ChartSeries, ...]
    unit: str
    """What is counted, such as "Conversations"."""
    subtitle: str = ""
    """Account, range, time zone."""
    width: int | None = 900
    """Of the whole picture, pixels; None = as its element in the page."""
    height: int = 380
    no_data: str = "Nothing was counted in this range."

    def __post_init__(self) -> None:
        _check_days(self.days)
        titles = [shown(each.title, _SERIES_TITLE_MAX) for each in self.series]
        keys = [each.key for each in self.series]
        if len(set(titles)) < len(titles) or len(set(keys)) < len(keys):
            raise ValueError("types of a chart have different keys and titles")
        for each in self.series:
            if each.key not in COLOURS and each.key not in OVERLAPPING:
                raise ValueError(f"no colour for {each.key}")
            _check_values(each.values, len(self.days))


@dataclass(frozen=True, slots=True)
class ActiveUsersChart:
    """What a chart of a month's active users shows."""

    title: str
    days: tuple[date, ...]
    """Consecutive, from the first of the month to the last counted day."""
    values: tuple[int, ...]
    """Users active in the month until the end of each day."""
    month_end: date
    """Last day of the month."""
    package: int | None = None
    """Active users in the plan's package."""
    expected: tuple[int, int] | None = None
    """Range, lowest and highest, of the number at the end of the month."""
    subtitle: str = ""
    unit: str = "Active users"
    width: int | None = 900
    height: int = 340
    no_data: str = "No active users in this month yet."

    def __post_init__(self) -> None:
        _check_days(self.days)
        _check_values(self.values, len(self.days))
        if any(before > after for before, after in pairwise(self.values)):
            raise ValueError("active users until the end of a day never become fewer")
        if self.days and self.month_end < self.days[-1]:
            raise ValueError("days end with the month")
        if self.package is not None:
            _check_values((self.package,), 1)
        if self.expected is not None:
            _check_values(self.expected, 2)
            if self.expected[0] > self.expected[1]:
                raise ValueError("expected: the lowest first")


def days_between(first: date, last: date) -> tuple[date, ...]:
    """Return all days of a range, both ends included."""
    return tuple(first + timedelta(days=place) for place in range((last - first).days + 1))


def series_of(key: str, title: str, days: Sequence[date], counts: Mapping[date, int]) -> ChartSeries:
    """Return a type's numbers by day; a day that nothing is known of counts 0."""
    return ChartSeries(key, title, tuple(counts.get(day, 0) for day in days))


def usage_chart(chart: UsageChart, theme: ThemeName) -> Spec:
    """Return stacked bars by day, with what overlaps them as a line."""
    colours = THEMES[theme]
    stacked = sorted(
        (each for each in chart.series if each.key in COLOURS), key=lambda each: list(COLOURS).index(each.key)
    )
    lines = [each for each in chart.series if each.key in OVERLAPPING]
    spec = frame(chart.title, chart.subtitle, _usage_description(chart), (chart.width, chart.height), colours)
    if not any(each.total for each in chart.series):
        return spec | sentence(chart.no_data, chart.days, chart.width, colours)
    top = max(
        *map(sum, zip(*(each.values for each in stacked), strict=True)) if stacked else (0,),
        *(value for each in lines for value in each.values),
        0,
    )
    axis = day_axis(chart.days, chart.width)
    scale: Spec = {"domainMin": 0, "nice": True}
    count: Spec = {
        "field": "value",
        "type": "quantitative",
        "axis": count_axis(chart.unit, top),
        "scale": scale,
    }
    layers: list[Spec] = []
    if stacked:
        layers.append(_bars(chart, stacked, axis, count, colours))
    for each in lines:
        layers += _line(chart, each, axis, count, colours)
    config = spec["config"]
    assert isinstance(config, dict)
    one_row = _fits_one_row(chart, [*stacked, *lines])
    direction, margin = ("horizontal", 14) if one_row else ("vertical", 5)
    config["legend"] |= {"layout": {"top": {"anchor": "start", "direction": direction, "margin": margin}}}
    return spec | {"layer": layers, "resolve": {"legend": {"color": "independent", "stroke": "independent"}}}


def _bars(chart: UsageChart, stacked: Sequence[ChartSeries], axis: Spec, count: Spec, theme: Theme) -> Spec:
    """Return the stack; a row for every number that is not 0, as bars without height only slow the page down."""
    values = [
        _row(day, each, value) | {"order": order}
        for order, each in enumerate(stacked)
        for day, value in zip(chart.days, each.values, strict=True)
        if value
    ]
    titles = [shown(each.title, _SERIES_TITLE_MAX) for each in stacked]
    mark: Spec = {
        "type": "bar",
        "width": {"band": _band(len(chart.days))},
        "aria": len(chart.days) <= _NAMED_BARS_DAYS_MAX,
    }
    if len(chart.days) > _GAPS_DAYS_MAX:
        mark |= {"binSpacing": 0}
    else:
        # A seam tells neighbours apart for whoever sees their colours alike.
        mark |= {"stroke": theme.background, "strokeWidth": 0.75}
    return {
        "data": {"values": values},
        "mark": mark,
        "encoding": {
            "x": axis,
            "y": count | {"stack": "zero"},
            "color": {
                "field": "type",
                "type": "nominal",
                "scale": {"domain": titles, "range": [COLOURS[each.key] for each in stacked]},
                "legend": {"columns": _columns(chart.width, titles), "symbolType": "square"},
            },
            # The order of colours is not that of the stack.
            "order": {"field": "order", "type": "quantitative"},
            "tooltip": _tooltip(chart.unit),
        },
    }


def _line(chart: UsageChart, series: ChartSeries, axis: Spec, count: Spec, theme: Theme) -> list[Spec]:
    """Return a line with points, on a wider one of the paper's colour that keeps it apart from the bars below."""
    data: Spec = {
        "values": [_row(day, series, value) for day, value in zip(chart.days, series.values, strict=True)]
    }
    place: Spec = {"x": axis | {"bandPosition": 0.5}, "y": count}
    title = shown(series.title, _SERIES_TITLE_MAX)
    stroke: Spec = {
        "field": "type",
        "type": "nominal",
        "scale": {"domain": [title], "range": [theme.ink]},
        "legend": {"symbolType": "stroke", "symbolStrokeWidth": 2.5},
    }
    width, size = _line_looks(len(chart.days))
    halo: Spec = {
        "type": "line",
        "color": theme.background,
        "strokeWidth": width + 2.5,
        "strokeOpacity": 0.75,
    }
    point: Spec = {
        "type": "point",
        "filled": True,
        "size": size,
        "color": theme.ink,
        "opacity": 1,
        "stroke": theme.background,
        "strokeWidth": 0.75,
        "aria": len(chart.days) <= _NAMED_BARS_DAYS_MAX,
    }
    return [
        {"data": data, "mark": halo | {"aria": False}, "encoding": place},
        {
            "data": data,
            "mark": {"type": "line", "strokeWidth": width, "aria": False},
            "encoding": place | {"stroke": stroke},
        },
        {"data": data, "mark": point, "encoding": place | {"tooltip": _tooltip(chart.unit)}},
    ]


def mau_chart(chart: ActiveUsersChart, theme: ThemeName) -> Spec:
    """Return the month's active users until the end of each day, the package, and what is expected."""
    colours = THEMES[theme]
    spec = frame(chart.title, chart.subtitle, _mau_description(chart), (chart.width, chart.height), colours)
    if not any(chart.values):
        month = days_between(chart.month_end.replace(day=1), chart.month_end)
        return spec | sentence(chart.no_data, month, chart.width, colours)
    month = days_between(chart.days[0], chart.month_end)
    top = max(chart.values[-1], chart.package or 0, *(chart.expected or (0,)))
    count: Spec = {
        "field": "value",
        "type": "quantitative",
        "axis": count_axis(chart.unit, top),
        # Room for the texts over the highest line.
        "scale": {"domain": [0, top * 1.12], "nice": False},
    }
    axis = day_axis(month, chart.width)
    layers = [_expected_band(chart, axis, count, colours)] if chart.expected is not None else []
    layers += _steps(chart, axis, count)
    if chart.package is not None:
        layers += _package_rule(chart.package, count, colours)
    return spec | {"layer": layers}


def _steps(chart: ActiveUsersChart, axis: Spec, count: Spec) -> list[Spec]:
    rows: list[Spec] = [
        {
            "day": milliseconds(day),
            "value": value,
            "on": tooltip_day(day),
            "shown": count_text(value),
            "type": chart.unit,
        }
        for day, value in zip(chart.days, chart.values, strict=True)
    ]
    # The last step is as wide as the others.
    end = rows[-1] | {"day": milliseconds(chart.days[-1] + timedelta(days=1))}
    hover: Spec = {"type": "bar", "opacity": 0, "width": {"band": 1}}
    area: Spec = {
        "type": "area",
        "interpolate": "step-after",
        "color": ACTIVE_USERS_COLOUR,
        "fillOpacity": 0.22,
        "line": {"color": ACTIVE_USERS_COLOUR, "strokeWidth": 2.5, "interpolate": "step-after"},
        "aria": False,
    }
    place: Spec = {"x": axis | {"bandPosition": 0}, "y": count}
    return [
        {"data": {"values": [*rows, end]}, "mark": area, "encoding": place},
        {
            "data": {"values": rows},
            "mark": hover,
            "encoding": {"x": axis, "y": count, "tooltip": _tooltip(chart.unit)},
        },
    ]


def _package_rule(package: int, count: Spec, theme: Theme) -> list[Spec]:
    data: Spec = {"values": [{"value": package, "shown": f"Package {count_text(package)}"}]}
    rule: Spec = {"type": "rule", "color": PACKAGE_COLOUR, "strokeWidth": 2, "strokeDash": [6, 4]}
    text: Spec = {
        "type": "text",
        "align": "left",
        "baseline": "bottom",
        "dx": 4,
        "dy": -4,
        "fontSize": 12,
        "fontWeight": 600,
        "color": theme.ink,
    }
    return [
        {"data": data, "mark": rule, "encoding": {"y": count}},
        {
            "data": data,
            "mark": text,
            "encoding": {
                "x": {"value": 0},
                "y": count,
                "text": {"field": "shown", "type": "nominal"},
            },
        },
    ]


def _expected_band(chart: ActiveUsersChart, axis: Spec, count: Spec, theme: Theme) -> Spec:
    """Return the range that opens from the last counted day to the end of the month."""
    assert chart.expected is not None, "asked only where there is one"
    low, high = chart.expected
    last, end = milliseconds(chart.days[-1]) + DAY_MS, milliseconds(chart.month_end) + DAY_MS
    text = (
        f"Expected {count_text(low)} to {count_text(high)}" if low < high else f"Expected {count_text(low)}"
    )
    rows = [
        {"day": last, "value": chart.values[-1], "high": chart.values[-1]},
        {"day": end, "value": low, "high": high},
    ]
    place: Spec = {"x": axis | {"bandPosition": 0}, "y": count}
    band: Spec = {
        "data": {"values": rows},
        "mark": {"type": "area", "color": theme.muted, "opacity": 0.35, "aria": False},
        "encoding": place | {"y2": {"field": "high"}},
    }
    label: Spec = {
        "data": {"values": [{"value": high, "shown": text}]},
        "mark": {
            "type": "text",
            "align": "right",
            "baseline": "bottom",
            "dx": -4,
            "dy": -4,
            "fontSize": 12,
            "color": theme.ink,
        },
        "encoding": {
            "x": {"value": {"expr": "width"}},
            "y": count,
            "text": {"field": "shown", "type": "nominal"},
        },
    }
    return {"layer": [band, label]}


def _row(day: date, series: ChartSeries, value: int) -> Spec:
    """Return one number; what a tooltip says of it is text already, so that no browser writes it in its own way."""
    return {
        "day": milliseconds(day),
        "type": shown(series.title, _SERIES_TITLE_MAX),
        "value": value,
        "on": tooltip_day(day),
        "shown": count_text(value),
    }


def _tooltip(unit: str) -> list[Spec]:
    return [
        {"field": "on", "type": "nominal", "title": "Day"},
        {"field": "type", "type": "nominal", "title": "Type"},
        {"field": "shown", "type": "nominal", "title": shown(unit, _SERIES_TITLE_MAX)},
    ]


def _usage_description(chart: UsageChart) -> str:
    """Return what the chart shows as a sentence for whoever cannot see it."""
    head = ". ".join(filter(None, (shown(chart.title), shown(chart.subtitle))))
    if not any(each.total for each in chart.series):
        return f"{head}. {chart.no_data}"
    span = f"{day_text(chart.days[0])} to {day_text(chart.days[-1])}"
    totals = "; ".join(
        f"{shown(each.title, _SERIES_TITLE_MAX)} {count_text(each.total)}" for each in chart.series
    )
    return f"{head}. {shown(chart.unit, _SERIES_TITLE_MAX)} by day, {span}, totals: {totals}."


def _mau_description(chart: ActiveUsersChart) -> str:
    head = ". ".join(filter(None, (shown(chart.title), shown(chart.subtitle))))
    if not any(chart.values):
        return f"{head}. {chart.no_data}"
    parts = [f"{count_text(chart.values[-1])} until {day_text(chart.days[-1])}"]
    if chart.package is not None:
        parts.append(f"package {count_text(chart.package)}")
    if chart.expected is not None:
        low, high = map(count_text, chart.expected)
        parts.append(f"expected {low} to {high} until {day_text(chart.month_end)}")
    return f"{head}. {shown(chart.unit, _SERIES_TITLE_MAX)}: {'; '.join(parts)}."


def _columns(width: int | None, titles: Sequence[str]) -> int | Spec:
    """Return how many entries of the legend stand in a row, so that none is cut."""
    needed = {columns: _legend_pixels(titles, columns) for columns in range(len(titles), 1, -1)}
    if width is not None:
        return next((columns for columns, pixels in needed.items() if pixels <= width - _SIDES_PIXELS), 1)
    # The page's element tells; ``width`` is that of the chart within its axes.
    choices = "".join(f"width >= {pixels:.0f} ? {columns} : " for columns, pixels in needed.items())
    return {"expr": f"{choices}1"}


def _legend_pixels(titles: Sequence[str], columns: int) -> float:
    """Return how wide a legend is: each of its columns as wide as its longest entry."""
    widest = (max(map(len, titles[column::columns])) for column in range(columns))
    return sum(letters * _LEGEND_LETTER_PIXELS + _LEGEND_ENTRY_PIXELS for letters in widest)


def _fits_one_row(chart: UsageChart, series: Sequence[ChartSeries]) -> bool:
    titles = [shown(each.title, _SERIES_TITLE_MAX) for each in series]
    return chart.width is not None and _legend_pixels(titles, len(titles)) <= chart.width - _SIDES_PIXELS


def _band(days: int) -> float:
    """Return how much of its day a bar fills: one bar alone is no wall, and four hundred leave no moire."""
    if days <= 3:
        return 0.2 * days
    return 0.82 if days <= _GAPS_DAYS_MAX else 1.0


def _line_looks(days: int) -> tuple[float, int]:
    """Return the line's width and the size of its points."""
    if days <= 31:
        return 2.0, 34
    return (1.75, 14) if days <= 100 else (1.25, 4)


def _check_days(days: Sequence[date]) -> None:
    if len(days) > DAYS_MAX:
        raise ValueError(f"a chart has at most {DAYS_MAX} days")
    if any(after - before != timedelta(days=1) for before, after in pairwise(days)):
        raise ValueError("the days of a chart follow each other")


def _check_values(values: Sequence[int], count: int) -> None:
    if len(values) != count:
        raise ValueError("one value for each day")
    if not all(0 <= value <= EXACT_MAX for value in values):
        raise ValueError("counts from 0 to 2^53 - 1")
