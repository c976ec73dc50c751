"""Charts as files: the right format and size, every bar in them, hostile texts as texts, nothing loaded."""

from __future__ import annotations

import io
import re
import struct
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from xml.etree import ElementTree

import pytest
from pypdf import PdfReader

from sinks.exports.chart_looks import COLOURS, THEMES, Spec, ThemeName, days_between
from sinks.exports.charts import ChartSeries, UsageChart, usage_chart
from sinks.exports.mau_chart import ActiveUsersChart, mau_chart
from sinks.exports.pictures import MEDIA_TYPES, PictureFormat, draw, javascript_bundle

FIRST = date(2026, 10, 1)
FORMATS: tuple[PictureFormat, ...] = ("png", "jpeg", "pdf", "svg")
SVG = "{http://www.w3.org/2000/svg}"


def chart_of(days: int = 10, title: str = "Usage", *, width: int = 600, value: int = 5) -> UsageChart:
    """Return a chart of all types."""
    keys = [*COLOURS, "free"]
    series = tuple(
        ChartSeries(key, f"{place} {title}"[:40], tuple((value + place) * bool(value) for _ in range(days)))
        for place, key in enumerate(keys)
    )
    span = days_between(FIRST, FIRST + timedelta(days=days - 1))
    return UsageChart(title, span, series, "Conversations", "Acme · Europe/Berlin", width=width, height=300)


def month_spec(theme: ThemeName = "light") -> Spec:
    """Return a chart of active users."""
    days = days_between(FIRST, FIRST + timedelta(days=19))
    values = tuple(range(100, 300, 10))
    month = ActiveUsersChart("Active users", days, values, date(2026, 10, 31), 280, (310, 420), width=600)
    return mau_chart(month, theme)


def png_size(png: bytes) -> tuple[int, int]:
    """Return width and height as the file's head has them."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert png[12:16] == b"IHDR"
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def text_of(pdf: bytes) -> str:
    """Return the text of the only page."""
    [page] = PdfReader(io.BytesIO(pdf)).pages
    return " ".join(page.extract_text().split())


def bars_of(svg: bytes) -> list[str]:
    """Return the colours of all bars."""
    root = ElementTree.fromstring(svg)
    paths = [path for path in root.iter(f"{SVG}path") if path.get("aria-roledescription") == "bar"]
    return [path.get("fill", "") for path in paths]


@pytest.mark.parametrize("scale", [1.0, 2.0, 3.0])
def test_pixels_are_the_size_asked_for(scale: float) -> None:
    """The width is that of the whole picture, so it fits where it was laid out for."""
    width, height = png_size(draw(usage_chart(chart_of(), "light"), "png", scale))
    assert abs(width - 600 * scale) <= 2 * scale
    assert abs(height - 300 * scale) <= 2 * scale


@pytest.mark.parametrize("theme", list(THEMES))
@pytest.mark.parametrize("picture_format", FORMATS)
def test_each_format_is_one(picture_format: PictureFormat, theme: ThemeName) -> None:
    """Each file begins as its format does, and the same chart gives the same picture."""
    starts = {"png": b"\x89PNG", "jpeg": b"\xff\xd8\xff", "pdf": b"%PDF-", "svg": b"<svg"}
    assert set(starts) == set(MEDIA_TYPES)
    for spec in (usage_chart(chart_of(), theme), month_spec(theme)):
        made = draw(spec, picture_format)
        assert made.startswith(starts[picture_format])
        again = draw(spec, picture_format)
        if picture_format == "pdf":
            # Its fonts stand in any order.
            assert text_of(again) == text_of(made)
        else:
            assert again == made


@pytest.mark.parametrize(("days", "width"), [(1, 600), (7, 390), (31, 900)])
def test_every_bar_is_drawn(days: int, width: int) -> None:
    """A specification that is slightly wrong draws an empty frame and says nothing: the bars are counted."""
    bars = bars_of(draw(usage_chart(chart_of(days, width=width), "dark"), "svg"))
    assert sorted(bars) == sorted(list(COLOURS.values()) * days)


def test_a_year_is_drawn_too() -> None:
    """400 days have their bars as well; none of them has a label of its own any more."""
    svg = draw(usage_chart(chart_of(400, width=900), "light"), "svg").decode()
    assert all(svg.count(f'fill="{colour}"') >= 400 for colour in COLOURS.values())
    assert not bars_of(svg.encode())


def test_nothing_counted_is_a_sentence() -> None:
    """An empty chart says so, in every format that has texts."""
    spec = usage_chart(chart_of(value=0), "print")
    assert "Nothing was counted in this range." in "".join(
        ElementTree.fromstring(draw(spec, "svg")).itertext()
    )
    assert "Nothing was counted in this range." in text_of(draw(spec, "pdf"))


def test_texts_can_be_read_back() -> None:
    """Title, subtitle and legend are texts in a pdf, not only shapes."""
    text = text_of(draw(usage_chart(chart_of(), "print"), "pdf"))
    for expected in ("Usage", "Acme · Europe/Berlin", "0 Usage", "Conversations", "1 Oct"):
        assert expected in text


HOSTILE = [
    "</svg><script>alert(1)</script>",
    '"><image href="http://127.0.0.1:1/x"/>',
    "<!ENTITY x SYSTEM 'file:///etc/passwd'> &x; ]]>",
    "=cmd|' /C calc'!A0",
    "{{constructor.constructor('x')()}} ${x} datum['a'] \\u0041",
    "z" * 10_000,
    "שלום עולם مرحبا \u202egnp.exe\u202c",
    "a\x00b\x1bc\r\nd\ud800e\uffff",
]


@pytest.mark.parametrize("title", HOSTILE)
@pytest.mark.parametrize("picture_format", FORMATS)
def test_hostile_texts_are_only_texts(title: str, picture_format: PictureFormat) -> None:
    """Whatever an account is called, the file is whole and nothing in it is more than a text."""
    made = draw(usage_chart(chart_of(title=title), "light"), picture_format)
    if picture_format == "png":
        assert png_size(made)[0] in range(1190, 1211)
    elif picture_format == "pdf":
        assert len(PdfReader(io.BytesIO(made)).pages) == 1
    elif picture_format == "svg":
        root = ElementTree.fromstring(made)
        tags = {element.tag.removeprefix(SVG) for element in root.iter()}
        assert tags <= {
            "svg",
            "g",
            "path",
            "rect",
            "text",
            "tspan",
            "line",
            "defs",
            "clipPath",
            "title",
            "desc",
        }
        names = {name for element in root.iter() for name in element.attrib}
        assert not any(re.search(r"href|^on|style$", name) and name != "style" for name in names)
        if len(title) < 60 and title.isprintable():
            assert title in "".join(root.itertext())
    else:
        assert made.endswith(b"\xff\xd9")


def test_nothing_is_loaded(tmp_path: Path) -> None:
    """Neither data nor a picture within a chart is fetched, from no server and no file."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Note who asks."""
            asked.append(self.path)
            self.send_error(404)

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    secret = tmp_path / "secret.json"
    secret.write_text('[{"a": 77777}]')
    try:
        addresses = [f"http://127.0.0.1:{server.server_port}/x.png", secret.as_uri(), str(secret)]
        specs: list[dict[str, Any]] = []
        for address in addresses:
            inline = {"values": [{"address": address}]}
            specs += [
                {"data": {"url": address}, "mark": "point"},
                {"layer": [{"data": {"url": address}, "mark": "point"}]},
                {"data": inline, "mark": {"type": "image"}, "encoding": {"url": {"field": "address"}}},
                {"data": inline, "mark": "image"},
                {"data": inline, "mark": {"type": "point", "href": address}},
            ]
        for spec in specs:
            for picture_format in FORMATS:
                with pytest.raises(ValueError, match="loads nothing"):
                    draw(spec, picture_format)
    finally:
        server.shutdown()
        server.server_close()
    assert asked == []


def test_what_is_no_picture_is_refused() -> None:
    """Another format, an odd scale and a broken specification are faults of the caller."""
    spec = usage_chart(chart_of(), "light")
    with pytest.raises(ValueError, match="no such picture"):
        draw(spec, "gif")  # type: ignore[arg-type]
    for scale in (0.0, 5.0, -1.0):
        with pytest.raises(ValueError, match="scale"):
            draw(spec, "png", scale)
    with pytest.raises(ValueError, match="failed"):
        draw({"mark": "no such mark"}, "png")


def test_the_script_of_the_page() -> None:
    """It gives the page ``vegaEmbed``, loads nothing, and is made once."""
    script = javascript_bundle()
    assert script is javascript_bundle()
    assert b"window.vegaEmbed" in script
    assert 300_000 < len(script) < 3_000_000
    hosts = set(re.findall(rb"https?://([a-z.]+\.(?:com|net|io|dev))", script))
    assert not any(b"jsdelivr" in host or b"unpkg" in host or b"cdn" in host for host in hosts)
