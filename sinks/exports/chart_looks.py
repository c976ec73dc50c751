"""How charts look: colours of types, themes, axes, ticks and texts, the same in the page and in files.

Owns everything that two kinds of chart have in common. Does not own what a chart shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Final, Literal

ThemeName = Literal["light", "dark", "print"]
Spec = dict[str, object]
"""A Vega-Lite specification, or a part of one."""

SCHEMA: Final = "https://vega.github.io/schema/vega-lite/v6.json"
"""A name for the version; nobody loads it."""
FONT: Final = "Liberation Sans, Arial, Helvetica, sans-serif"
"""Three fonts whose letters are equally wide, so that a text takes the room that was laid out for it."""
TICKS_MAX: Final = 12
EXACT_MAX: Final = 2**53 - 1
"""Whole numbers up to here are exact in a browser."""
DAYS_MAX: Final = 400
SERIES_TITLE_MAX: Final = 40
TITLE_CHARACTERS_MAX: Final = 160
DAY_MS: Final = 86_400_000
_TICK_PIXELS: Final = 62
_SUBTITLE_LETTER_PIXELS: Final = 6.2
_TICK_STEPS_DAYS: Final = (1, 2, 3, 7, 14)
_TICK_STEPS_MONTHS: Final = (1, 2, 3, 6, 12, 24)
_MONDAY: Final = date(1970, 1, 5)
_JOINERS: Final = "\u200c\u200d"
"""Invisible, but parts of words in Persian, Hindi and others."""


@dataclass(frozen=True, slots=True)
class Theme:
    """The colours of paper and ink."""

    background: str
    ink: str
    """Titles, and whatever is drawn over bars."""
    muted: str
    """Labels of axes and legends."""
    grid: str


THEMES: Final[dict[ThemeName, Theme]] = {
    "light": Theme("#ffffff", "#16202b", "#51606e", "#e3e8ed"),
    "dark": Theme("#12181f", "#f2f5f8", "#a9b6c2", "#2b343e"),
    "print": Theme("#ffffff", "#000000", "#3c3c3c", "#d5d5d5"),
}

# At least 3:1 on light and on dark, and apart from each other also for people who see few or no reds, greens or
# blues; a test computes both. Free ones overlap the rest: they are drawn over them in the theme's ink.
COLOURS: Final[dict[str, str]] = {
    "marketing": "#3997f2",
    "utility": "#247865",
    "authentication": "#bd3c09",
    "authentication_international": "#c8850f",
    "service": "#9d34b6",
    "free_entry_point": "#8333fa",
    "unclassified": "#939394",
}
"""Colour of each type in every chart; the order is that of the stack, from the bottom."""
ACTIVE_USERS_COLOUR: Final = COLOURS["marketing"]
PACKAGE_COLOUR: Final = COLOURS["authentication"]


def shown(text: str, characters_max: int = TITLE_CHARACTERS_MAX) -> str:
    """Return a text as a chart can carry it: one line, not endless, nothing that XML forbids or that turns letters."""
    clean = "".join(each if each.isprintable() or each in _JOINERS else " " for each in text)
    return clean if len(clean) <= characters_max else clean[: characters_max - 1] + "…"


def count_text(count: int) -> str:
    """Return a number as people read it."""
    return f"{count:,}"


def day_text(day: date) -> str:
    """Return a day as people read it, without the habits of any one country in the order of its parts."""
    return f"{day.day} {day:%b %Y}"


def tooltip_day(day: date) -> str:
    """Return a day with its weekday."""
    return f"{day:%a} {day_text(day)}"


def milliseconds(day: date) -> int:
    """Return the first instant of a day as all charts have it: UTC, whatever the zone of the browser is."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000


def ticks_of(days: Sequence[date], width: int | None) -> tuple[list[date], str]:
    """Return the days that are labelled, 12 at most, and the format of the labels."""
    room = TICKS_MAX if width is None else max(2, min(TICKS_MAX, width // _TICK_PIXELS))
    for step in _TICK_STEPS_DAYS:
        # Weeks begin on Mondays, so that the eye finds the weekends.
        start = 0 if step < 7 else -(days[0] - _MONDAY).days % 7
        if 0 < len(chosen := list(days[start::step])) <= room:
            return chosen, "%-d %b"
    for step in _TICK_STEPS_MONTHS:
        firsts = [day for day in days if day.day == 1 and (day.month - 1 + 12 * day.year) % step == 0]
        if 0 < len(firsts) <= room:
            return firsts, "%b %Y"
    return [days[0], days[-1]], "%b %Y"


def day_axis(days: Sequence[date], width: int | None) -> Spec:
    """Return the encoding of days, with labels below the middle of their bars."""
    chosen, label_format = ticks_of(days, width)
    return {
        "field": "day",
        "type": "temporal",
        # Local time would move every bar for whoever is west of Greenwich.
        "timeUnit": "utcyearmonthdate",
        "title": None,
        "scale": {"type": "utc", "nice": False},
        "axis": {
            # Numbers would be read by a function that the page's interpreter understands otherwise.
            "values": [
                {"year": day.year, "month": day.month, "date": day.day, "hours": 12, "utc": True}
                for day in chosen
            ],
            "format": label_format,
            "labelOverlap": "parity",
            "labelSeparation": 6,
            "labelFlush": False,
            "labelBound": False,
        },
    }


def instant_axis(axis: Spec) -> Spec:
    """Return the encoding of instants on the scale of days: what ends with a day takes up no further one."""
    return {key: value for key, value in axis.items() if key != "timeUnit"}


def day_span(days: Sequence[date], axis: Spec) -> Spec:
    """Return invisible bars on the first and the last day, so that the scale spans all days.

    Domains that are given as such end in expressions that the page's interpreter takes for empty data.
    """
    ends = [{"day": milliseconds(day), "value": 0} for day in (days[0], days[-1])]
    return {
        "data": {"values": ends},
        "mark": {"type": "bar", "opacity": 0, "aria": False, "tooltip": None},
        "encoding": {"x": axis, "y": {"value": 0}, "y2": {"value": 0}},
    }


def count_axis(title: str, top: int) -> Spec:
    """Return the axis of whole numbers up to the given one."""
    return {"title": shown(title, 60), "format": ",d", "tickMinStep": 1, "tickCount": min(5, max(1, top))}


def frame(title: str, subtitle: str, description: str, size: tuple[int | None, int], theme: Theme) -> Spec:
    """Return what is around a chart; no width = as wide as the element of the page that it is in."""
    width, height = size
    return {
        "$schema": SCHEMA,
        "description": description,
        "background": theme.background,
        "width": "container" if width is None else width,
        "height": height,
        # The size is that of the whole picture.
        "autosize": {"type": "fit", "contains": "padding"},
        "padding": 14,
        "title": {"text": shown(title), "subtitle": _two_lines(shown(subtitle), width)},
        "config": _config(theme, width),
    }


def sentence(text: str, days: Sequence[date], width: int | None, theme: Theme) -> Spec:
    """Return the content of a chart that has nothing to show but its days, if any."""
    words: Spec = {
        "data": {"values": [{"text": shown(text)}]},
        "mark": {"type": "text", "fontSize": 14, "color": theme.muted, "limit": {"expr": "width"}},
        "encoding": {
            "text": {"field": "text", "type": "nominal"},
            "x": {"value": {"expr": "width / 2"}},
            "y": {"value": {"expr": "height / 2"}},
        },
    }
    if not days:
        return {"layer": [words]}
    return {"layer": [day_span(days, day_axis(days, width)), words]}


def _title_pixels(width: int) -> int:
    """Return how long a title can be: it begins right of the axis."""
    return max(120, width - 110)


def _two_lines(text: str, width: int | None) -> list[str]:
    """Return a text broken where the picture would cut it."""
    letters = TITLE_CHARACTERS_MAX if width is None else int(_title_pixels(width) / _SUBTITLE_LETTER_PIXELS)
    if len(text) <= letters or (place := text.rfind(" ", 0, letters + 1)) <= 0:
        return [text]
    # A dot that parts two facts is none at the end of a line.
    return [text[:place].rstrip(" ·"), text[place:].lstrip(" ·")]


def _config(theme: Theme, width: int | None) -> Spec:
    label: Spec = {
        "labelColor": theme.muted,
        "labelFontSize": 11,
        "titleColor": theme.muted,
        "titleFontSize": 11,
    }
    return {
        "font": FONT,
        "view": {"stroke": None},
        "title": {
            "anchor": "start",
            "frame": "group",
            "offset": 14,
            "color": theme.ink,
            "fontSize": 16,
            "fontWeight": 600,
            "subtitleColor": theme.muted,
            "subtitleFontSize": 12,
            "subtitlePadding": 5,
            "limit": {"expr": "width"} if width is None else _title_pixels(width),
        },
        "axis": {
            **label,
            "titleFontWeight": "normal",
            "gridColor": theme.grid,
            "ticks": False,
            "labelPadding": 6,
        },
        "axisX": {
            "grid": False,
            "domainColor": theme.muted,
            "ticks": True,
            "tickColor": theme.muted,
            "tickSize": 4,
        },
        "axisY": {"domain": False, "grid": True},
        "legend": {
            **label,
            "orient": "top",
            "title": None,
            "labelFontSize": 12,
            "symbolSize": 110,
            "columnPadding": 14,
            "rowPadding": 4,
            "offset": 12,
            "labelLimit": 190,
        },
    }


def days_between(first: date, last: date) -> tuple[date, ...]:
    """Return all days of a range, both ends included."""
    return tuple(first + timedelta(days=place) for place in range((last - first).days + 1))


def tooltip_of(unit: str) -> list[Spec]:
    """Return what is told of the number below the pointer."""
    return [
        {"field": "on", "type": "nominal", "title": "Day"},
        {"field": "type", "type": "nominal", "title": "Type"},
        {"field": "shown", "type": "nominal", "title": shown(unit, SERIES_TITLE_MAX)},
    ]


def check_days(days: Sequence[date]) -> None:
    """Refuse days that a chart cannot have."""
    if len(days) > DAYS_MAX:
        raise ValueError(f"a chart has at most {DAYS_MAX} days")
    if any(after - before != timedelta(days=1) for before, after in pairwise(days)):
        raise ValueError("the days of a chart follow each other")


def check_values(values: Sequence[int], count: int) -> None:
    """Refuse numbers that a chart cannot have."""
    if len(values) != count:
        raise ValueError("one value for each day")
    if not all(0 <= value <= EXACT_MAX for value in values):
        raise ValueError("counts from 0 to 2^53 - 1")
