"""Charts as Vega-Lite specifications: the page draws the same one that files are drawn from.

Owns what a chart of usage shows; that of active users is in ``sinks.exports.mau_chart``. All texts are data: they go
into places that nothing parses. Letters beyond Latin, Greek and Cyrillic need a font of the machine (in files) or of
the reader (in the page).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from sinks.exports.chart_looks import (
    COLOURS,
    SERIES_TITLE_MAX,
    THEMES,
    Spec,
    Theme,
    ThemeName,
    check_days,
    check_values,
    count_axis,
    count_text,
    day_axis,
    day_span,
    day_text,
    frame,
    milliseconds,
    sentence,
    shown,
    tooltip_day,
    tooltip_of,
)

OVERLAPPING: Final = frozenset({"free"})
"""Types that count what other types count too: drawn as lines, and never part of a stack or a sum."""
_GAPS_DAYS_MAX: Final = 62
_NAMED_BARS_DAYS_MAX: Final = 31
_LEGEND_LETTER_PIXELS: Final = 6.7
_LEGEND_ENTRY_PIXELS: Final = 32
_NARROW_PIXELS: Final = 360
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
    """Of the whole picture, pixels; None = as its element in the page, with a legend for narrow ones."""
    height: int = 380
    no_data: str = "Nothing was counted in this range."

    def __post_init__(self) -> None:
        check_days(self.days)
        titles = [shown(each.title, SERIES_TITLE_MAX) for each in self.series]
        keys = [each.key for each in self.series]
        if len(set(titles)) < len(titles) or len(set(keys)) < len(keys):
            raise ValueError("types of a chart have different keys and titles")
        for each in self.series:
            if each.key not in COLOURS and each.key not in OVERLAPPING:
                raise ValueError(f"no colour for {each.key}")
            check_values(each.values, len(self.days))


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
    layers: list[Spec] = [day_span(chart.days, axis)]
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
    titles = [shown(each.title, SERIES_TITLE_MAX) for each in stacked]
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
            "tooltip": tooltip_of(chart.unit),
        },
    }


def _line(chart: UsageChart, series: ChartSeries, axis: Spec, count: Spec, theme: Theme) -> list[Spec]:
    """Return a line with points, on a wider one of the paper's colour that keeps it apart from the bars below."""
    data: Spec = {
        "values": [_row(day, series, value) for day, value in zip(chart.days, series.values, strict=True)]
    }
    place: Spec = {"x": axis | {"bandPosition": 0.5}, "y": count}
    title = shown(series.title, SERIES_TITLE_MAX)
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
        {"data": data, "mark": point, "encoding": place | {"tooltip": tooltip_of(chart.unit)}},
    ]


def _row(day: date, series: ChartSeries, value: int) -> Spec:
    """Return one number; what a tooltip says of it is text already, so that no browser writes it in its own way."""
    return {
        "day": milliseconds(day),
        "type": shown(series.title, SERIES_TITLE_MAX),
        "value": value,
        "on": tooltip_day(day),
        "shown": count_text(value),
    }


def _usage_description(chart: UsageChart) -> str:
    """Return what the chart shows as a sentence for whoever cannot see it."""
    head = ". ".join(filter(None, (shown(chart.title), shown(chart.subtitle))))
    if not any(each.total for each in chart.series):
        return f"{head}. {chart.no_data}"
    span = f"{day_text(chart.days[0])} to {day_text(chart.days[-1])}"
    totals = "; ".join(
        f"{shown(each.title, SERIES_TITLE_MAX)} {count_text(each.total)}" for each in chart.series
    )
    return f"{head}. {shown(chart.unit, SERIES_TITLE_MAX)} by day, {span}, totals: {totals}."


def _columns(width: int | None, titles: Sequence[str]) -> int:
    """Return how many entries of the legend stand in a row, so that none is cut."""
    # A legend that follows the width of the page's element would push the title out: so it fits a telephone.
    room = (width or _NARROW_PIXELS) - _SIDES_PIXELS
    choices = range(len(titles), 1, -1)
    return next((columns for columns in choices if _legend_pixels(titles, columns) <= room), 1)


def _legend_pixels(titles: Sequence[str], columns: int) -> float:
    """Return how wide a legend is: each of its columns as wide as its longest entry."""
    widest = (max(map(len, titles[column::columns])) for column in range(columns))
    return sum(letters * _LEGEND_LETTER_PIXELS + _LEGEND_ENTRY_PIXELS for letters in widest)


def _fits_one_row(chart: UsageChart, series: Sequence[ChartSeries]) -> bool:
    titles = [shown(each.title, SERIES_TITLE_MAX) for each in series]
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
