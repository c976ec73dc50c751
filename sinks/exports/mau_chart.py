"""The chart of a month's active users as a Vega-Lite specification, for page and files.

Owns what it shows: how many there were until the end of each day, the package of the plan, and what is expected. The
numbers are handed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise

from sinks.exports.chart_looks import (
    ACTIVE_USERS_COLOUR,
    DAY_MS,
    PACKAGE_COLOUR,
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
    days_between,
    frame,
    instant_axis,
    milliseconds,
    sentence,
    shown,
    tooltip_day,
    tooltip_of,
)


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
        check_days(self.days)
        check_values(self.values, len(self.days))
        if any(before > after for before, after in pairwise(self.values)):
            raise ValueError("active users until the end of a day never become fewer")
        if self.days and self.month_end < self.days[-1]:
            raise ValueError("days end with the month")
        if self.package is not None:
            check_values((self.package,), 1)
        if self.expected is not None:
            check_values(self.expected, 2)
            if self.expected[0] > self.expected[1]:
                raise ValueError("expected: the lowest first")


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
    layers = [day_span(month, axis)]
    if chart.expected is not None:
        layers.append(_expected_band(chart, axis, count, colours))
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
    place: Spec = {"x": instant_axis(axis), "y": count}
    return [
        {"data": {"values": [*rows, end]}, "mark": area, "encoding": place},
        {
            "data": {"values": rows},
            "mark": hover,
            "encoding": {"x": axis, "y": count, "tooltip": tooltip_of(chart.unit)},
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
    place: Spec = {"x": instant_axis(axis), "y": count}
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
    return f"{head}. {shown(chart.unit, SERIES_TITLE_MAX)}: {'; '.join(parts)}."
