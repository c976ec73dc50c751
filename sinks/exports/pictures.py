"""Charts as files, and the script that draws them in the page: both by the same version of Vega.

Owns the calls of vl-convert. It holds the interpreter for as long as it draws: never call it in the process of an
event loop; ``sinks.exports.pool`` has a process for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Final, Literal, get_args

PictureFormat = Literal["png", "jpeg", "pdf", "svg"]
MEDIA_TYPES: Final[dict[PictureFormat, str]] = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "pdf": "application/pdf",
    "svg": "image/svg+xml",
}
VEGA_LITE_VERSION: Final = "6.4"
"""The page and the files agree on it; the package brings several."""
PAGE_OPTIONS: Final[dict[str, object]] = {
    # Expressions are interpreted and no style is set in the page: the content security policy allows neither.
    "ast": True,
    "actions": False,
    "defaultStyle": False,
    "renderer": "svg",
    "tooltip": {"disableDefaultStyle": True},
}
"""What the page has to tell ``vegaEmbed``."""
SCALE_MAX: Final = 4.0
_ADDRESS_KEYS: Final = frozenset({"url", "href"})
_SNIPPET: Final = "window.vegaEmbed = vegaEmbed;"
_JPEG_QUALITY: Final = 92


def draw(spec: Mapping[str, object], picture_format: PictureFormat, scale: float = 2.0) -> bytes:
    """Return a chart as a file; nothing is ever loaded for it. ``scale`` is for pixels: png and jpeg.

    The same specification gives the same bytes; of a pdf the same page, as its fonts stand in any order.

    Raises:
        ValueError: the specification is none, or holds an address.
    """
    import vl_convert  # noqa: PLC0415 - 85 MB that only the drawing process needs

    if picture_format not in get_args(PictureFormat):
        raise ValueError(f"no such picture: {picture_format}")
    if not 0 < scale <= SCALE_MAX:
        raise ValueError(f"scale: more than 0, up to {SCALE_MAX:g}")
    # The list of allowed addresses holds for data only: pictures within a chart are loaded from anywhere.
    _check_no_address(spec)
    text, version = json.dumps(spec), VEGA_LITE_VERSION
    if picture_format == "svg":
        return vl_convert.vegalite_to_svg(text, version, allowed_base_urls=[]).encode()
    if picture_format == "pdf":
        return vl_convert.vegalite_to_pdf(text, version, allowed_base_urls=[])
    if picture_format == "png":
        return vl_convert.vegalite_to_png(text, version, scale, allowed_base_urls=[])
    return vl_convert.vegalite_to_jpeg(text, version, scale, _JPEG_QUALITY, allowed_base_urls=[])


@cache
def javascript_bundle() -> bytes:
    """Return the script that gives the page ``window.vegaEmbed``; takes seconds, once a process.

    It is a module (``<script type="module">``): as a plain script its many short names would be everybody's.
    """
    import vl_convert  # noqa: PLC0415 - see above

    return vl_convert.javascript_bundle(_SNIPPET, VEGA_LITE_VERSION).encode()


def _check_no_address(part: object) -> None:
    if isinstance(part, Mapping):
        found = _ADDRESS_KEYS.intersection(part)
        if found or part.get("type") == "image" or part.get("mark") == "image":
            raise ValueError("a chart loads nothing: no address and no picture in it")
        for each in part.values():
            _check_no_address(each)
    elif isinstance(part, list | tuple):
        for each in part:
            _check_no_address(each)
