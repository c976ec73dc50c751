"""Charts as specifications: what they say, in which colours, and that texts stay texts."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, timedelta
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.exports.chart_looks import COLOURS, THEMES, ThemeName, days_between, shown, ticks_of
from sinks.exports.charts import ChartSeries, UsageChart, series_of, usage_chart
from sinks.exports.mau_chart import ActiveUsersChart, mau_chart

FIRST = date(2026, 10, 1)
THEME_NAMES: tuple[ThemeName, ...] = ("light", "dark", "print")
Colour = tuple[float, float, float]

# Machado, Oliveira and Fernandes 2009: what people see who have no cones of one kind, in linear RGB.
SIGHTS: dict[str, tuple[Colour, Colour, Colour]] = {
    "usual": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "no long": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "no middle": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "no short": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}


def linear(colour: str) -> Colour:
    """Return a colour's light."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return red, green, blue


def contrast(one: str, other: str) -> float:
    """Return the contrast of WCAG 2."""
    low, high = sorted(
        0.2126 * red + 0.7152 * green + 0.0722 * blue for red, green, blue in (linear(one), linear(other))
    )
    return (high + 0.05) / (low + 0.05)


def seen(colour: str, sight: str) -> Colour:
    """Return a colour in Oklab, where distances are what the eye tells apart."""
    light = linear(colour)
    mixed = (sum(share * part for share, part in zip(row, light, strict=True)) for row in SIGHTS[sight])
    r, g, b = (min(1.0, max(0.0, part)) for part in mixed)
    long = (0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b) ** (1 / 3)
    middle = (0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b) ** (1 / 3)
    short = (0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b) ** (1 / 3)
    return (
        0.2104542553 * long + 0.7936177850 * middle - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * middle + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * middle - 0.8086757660 * short,
    )


def chart_of(values: dict[str, list[int]], **more: Any) -> UsageChart:
    """Return a chart of types by key."""
    count = len(next(iter(values.values()), []))
    days = days_between(FIRST, FIRST + timedelta(days=count - 1))
    series = tuple(ChartSeries(key, f"Type {key}", tuple(numbers)) for key, numbers in values.items())
    return UsageChart("Usage", days, series, "Conversations", **more)


def layers(spec: dict[str, object]) -> list[dict[str, Any]]:
    """Return the layers of a specification, those within others too."""
    found: list[dict[str, Any]] = []
    for layer in spec.get("layer", []):  # type: ignore[attr-defined]
        found += layers(layer) if "layer" in layer else [layer]
    return found


def layer_of(spec: dict[str, object], mark: str) -> dict[str, Any]:
    """Return the last layer with a mark."""
    return [layer for layer in layers(spec) if layer["mark"]["type"] == mark][-1]


def test_colours_can_be_told_apart() -> None:
    """By everybody, on light and on dark, and from the ink that is drawn over them."""
    for colour in COLOURS.values():
        for theme in THEMES.values():
            assert contrast(colour, theme.background) >= 3
            assert contrast(theme.ink, theme.background) >= 7
            assert contrast(theme.muted, theme.background) >= 4.5
        assert contrast(colour, THEMES["light"].ink) >= 2.5
        assert contrast(colour, THEMES["dark"].ink) >= 2.5
    for one, other in combinations(COLOURS.values(), 2):
        for sight in SIGHTS:
            assert math.dist(seen(one, sight), seen(other, sight)) >= 0.1, (one, other, sight)


@given(
    st.dictionaries(
        st.sampled_from([*COLOURS, "free"]), st.lists(st.integers(0, 50), min_size=9, max_size=9), min_size=1
    ),
    st.sampled_from(THEME_NAMES),
)
def test_a_chart_has_every_number_once(values: dict[str, list[int]], theme: ThemeName) -> None:
    """Each number that is not 0 is a bar of its day and type, in the type's colour and the same order every day."""
    spec = usage_chart(chart_of(values), theme)
    stacked = {key: numbers for key, numbers in values.items() if key != "free"}
    expected = {
        (f"Type {key}", place, number)
        for key, numbers in stacked.items()
        for place, number in enumerate(numbers)
        if number
    }
    if not any(map(any, values.values())):
        assert "Nothing was counted" in json.dumps(spec)
        return
    if stacked and any(map(any, stacked.values())):
        bars = layer_of(spec, "bar")
        rows = bars["data"]["values"]
        start = datetime(2026, 10, 1, tzinfo=UTC).timestamp() * 1000
        assert {(row["type"], (row["day"] - start) / 86_400_000, row["value"]) for row in rows} == expected
        assert len(rows) == len(expected)
        scale = bars["encoding"]["color"]["scale"]
        keys = [title.removeprefix("Type ") for title in scale["domain"]]
        assert keys == [key for key in COLOURS if key in stacked]
        assert scale["range"] == [COLOURS[key] for key in keys]
        assert all(row["order"] == scale["domain"].index(row["type"]) for row in rows)
        assert bars["encoding"]["order"]["field"] == "order"
        assert bars["encoding"]["x"]["timeUnit"] == "utcyearmonthdate"
    if "free" in values:
        line = layer_of(spec, "line")
        assert [row["value"] for row in line["data"]["values"]] == values["free"], "zeros are part of a line"
        assert "stack" not in line["encoding"]["y"]


def test_the_tooltip_says_day_type_and_number() -> None:
    """The number with thousands apart, the day with its weekday and year."""
    spec = usage_chart(chart_of({"marketing": [1_234_567]}), "light")
    bars = layer_of(spec, "bar")
    [row] = bars["data"]["values"]
    told = {each["title"]: row[each["field"]] for each in bars["encoding"]["tooltip"]}
    assert told == {"Day": "Thu 1 Oct 2026", "Type": "Type marketing", "Conversations": "1,234,567"}


def test_the_description_has_the_totals() -> None:
    """Whoever cannot see the chart is told title, range and the sum of each type."""
    chart = chart_of({"marketing": [1000, 234], "free": [5, 0]}, subtitle="Acme, Europe/Berlin")
    description = usage_chart(chart, "dark")["description"]
    assert description == (
        "Usage. Acme, Europe/Berlin. Conversations by day, 1 Oct 2026 to 2 Oct 2026, totals: "
        "Type marketing 1,234; Type free 5."
    )
    nothing = usage_chart(chart_of({"marketing": [0]}), "dark")["description"]
    assert str(nothing).endswith("Nothing was counted in this range.")


@given(
    st.integers(1, 400),
    st.dates(date(2000, 1, 1), date(2100, 1, 1)),
    st.one_of(st.none(), st.integers(200, 2000)),
)
def test_at_most_twelve_days_are_labelled(count: int, first: date, width: int | None) -> None:
    """However long the range is, in order, within it, and fewer where there is less room."""
    days = days_between(first, first + timedelta(days=count - 1))
    chosen, _ = ticks_of(days, width)
    assert 1 <= len(chosen) <= 12
    assert chosen == sorted(set(chosen) & set(days))
    if width is not None:
        assert len(chosen) <= max(2, width // 60)


def test_the_scale_spans_all_days() -> None:
    """Days without numbers keep their room, the last one too."""
    spec = usage_chart(chart_of({"utility": [0, 1, 0, 0]}), "light")
    ends = layers(spec)[0]["data"]["values"]
    span = [datetime.fromtimestamp(each["day"] / 1000, UTC).date() for each in ends]
    assert span == [FIRST, FIRST + timedelta(days=3)]
    x = layer_of(spec, "bar")["encoding"]["x"]
    labelled = x["axis"]["values"]
    assert [each["date"] for each in labelled] == [1, 2, 3, 4]
    assert all(each["hours"] == 12 and each["utc"] for each in labelled), (
        "labels stand below the middle of a bar"
    )


HOSTILE = "</svg><evil>alert(1)</evil> {{x}} datum.y \x00\x1b\u202e\ud800 ' \" \\ " + "z" * 10_000


@pytest.mark.parametrize("theme", THEME_NAMES)
def test_texts_are_data(theme: ThemeName) -> None:
    """A text from outside stands only in places for texts, shortened, without what files cannot have."""
    chart = UsageChart(HOSTILE, (FIRST,), (ChartSeries("service", HOSTILE, (1,)),), HOSTILE, HOSTILE)
    places: list[tuple[object, ...]] = []

    def walk(part: object, path: tuple[object, ...]) -> None:
        if isinstance(part, dict):
            for key, each in part.items():
                assert "evil" not in key
                walk(each, (*path, key))
        elif isinstance(part, list):
            for place, each in enumerate(part):
                walk(each, (*path, place))
        elif isinstance(part, str) and "evil" in part:
            assert part.replace("\n", " ").isprintable()
            assert len(part) <= 600
            places.append(path)

    walk(usage_chart(chart, theme), ())
    assert {path[-1] for path in places} == {"text", "description", "type", "title", 0}
    assert not any(each in ("expr", "signal", "filter", "calculate") for path in places for each in path)


def test_shown_keeps_words_whole() -> None:
    """Other letters stay, with the joiners that some words need."""
    text = "שלום عربى हिन्दी 漢字 می\u200cخواهم"  # noqa: RUF001 - other letters on purpose
    assert shown(text) == text
    assert shown("a\r\nb") == "a  b"
    assert shown("abcdef", 4) == "abc…"


def test_what_is_no_chart_is_refused() -> None:
    """Gaps between days, too many of them, types without a colour and numbers that a browser cannot have."""
    days = days_between(FIRST, FIRST + timedelta(days=1))
    with pytest.raises(ValueError, match="follow"):
        UsageChart("t", (FIRST, FIRST + timedelta(days=2)), (), "u")
    with pytest.raises(ValueError, match="400"):
        UsageChart("t", days_between(FIRST, FIRST + timedelta(days=400)), (), "u")
    with pytest.raises(ValueError, match="no colour"):
        UsageChart("t", days, (ChartSeries("other", "Other", (1, 2)),), "u")
    with pytest.raises(ValueError, match="each day"):
        UsageChart("t", days, (ChartSeries("utility", "U", (1,)),), "u")
    for wrong in (-1, 2**53):
        series = (ChartSeries("utility", "U", (1, wrong)),)
        with pytest.raises(ValueError, match="counts"):
            UsageChart("t", days, series, "u")
    twice = (ChartSeries("utility", "A", (1, 1)), ChartSeries("service", "A", (1, 1)))
    with pytest.raises(ValueError, match="different"):
        UsageChart("t", days, twice, "u")


def test_days_without_a_count_are_zero() -> None:
    """A series has a number for every day of the chart."""
    days = days_between(FIRST, FIRST + timedelta(days=3))
    assert series_of("free", "Free", days, {days[2]: 7}).values == (0, 0, 7, 0)


def test_a_long_subtitle_has_two_lines() -> None:
    """In a narrow picture it is broken between words instead of cut; no word is lost."""
    text = "Acme · 2026-10-01 to 2026-10-31 · Europe/Berlin"
    wide, narrow = (
        usage_chart(chart_of({"utility": [1]}, subtitle=text, width=width), "light") for width in (900, 390)
    )
    assert isinstance(wide["title"], dict)
    assert isinstance(narrow["title"], dict)
    assert wide["title"]["subtitle"] == [text]
    assert narrow["title"]["subtitle"] == ["Acme · 2026-10-01 to 2026-10-31", "Europe/Berlin"]


def numbers_in(part: object) -> set[object]:
    """Return what axes and scales are told to begin, end or label with."""
    if isinstance(part, dict):
        found = [each for key in ("values", "domain") for each in _listed(part.get(key))]
        return {type(each) for each in found}.union(*(numbers_in(each) for each in part.values()))
    return set().union(*(numbers_in(each) for each in part)) if isinstance(part, list) else set()


def _listed(part: object) -> list[object]:
    return part if isinstance(part, list) else []


def test_no_moment_is_given_as_a_bare_number() -> None:
    """Scales and axes of days have dates by their parts: as numbers they draw nothing under the page's interpreter."""
    for spec in (usage_chart(chart_of({"utility": [1], "free": [1]}), "light"),):
        assert numbers_in(spec) <= {str, dict}


def month_chart(**changed: Any) -> ActiveUsersChart:
    """Return a month counted until its third day."""
    values: dict[str, Any] = {
        "title": "MAU",
        "days": days_between(FIRST, FIRST + timedelta(days=2)),
        "values": (10, 25, 25),
        "month_end": date(2026, 10, 31),
        "package": 100,
        "expected": (80, 1200),
    }
    return ActiveUsersChart(**values | changed)


def test_active_users_package_and_what_is_expected() -> None:
    """Steps until the end of the last counted day, the package as a rule, the expected range until the month's end."""
    spec = mau_chart(month_chart(), "light")
    area = [layer for layer in layers(spec) if layer["mark"]["type"] == "area"]
    band, steps = (layer["data"]["values"] for layer in area)
    assert [row["value"] for row in steps] == [10, 25, 25, 25]
    ends = [datetime.fromtimestamp(row["day"] / 1000, UTC).date() for row in (steps[-1], band[0], band[1])]
    assert ends == [date(2026, 10, 4), date(2026, 10, 4), date(2026, 11, 1)]
    assert [(row["value"], row["high"]) for row in band] == [(25, 25), (80, 1200)]
    assert layer_of(spec, "rule")["data"]["values"][0]["value"] == 100
    top = layer_of(spec, "rule")["encoding"]["y"]["scale"]["domain"][1]
    assert top > 1200
    texts = json.dumps(spec)
    assert "Expected 80 to 1,200" in texts
    assert "Package 100" in texts
    assert spec["description"] == (
        "MAU. Active users: 25 until 3 Oct 2026; package 100; expected 80 to 1,200 until 31 Oct 2026."
    )


def test_active_users_without_more_than_their_count() -> None:
    """Without package and expectation there is neither; without users there is a sentence; fewer users are no month."""
    bare = mau_chart(month_chart(package=None, expected=None), "dark")
    assert "Expected" not in json.dumps(bare)
    assert not [layer for layer in layers(bare) if layer["mark"]["type"] == "rule"]
    assert "No active users" in json.dumps(mau_chart(month_chart(days=(), values=()), "dark"))
    with pytest.raises(ValueError, match="fewer"):
        month_chart(values=(3, 2, 5))
    with pytest.raises(ValueError, match="lowest"):
        month_chart(expected=(3, 2))
    with pytest.raises(ValueError, match="month"):
        month_chart(month_end=date(2026, 10, 2))
