"""Static files under URLs that change with their content, so that browsers may keep them for good.

Owns which files those are. The chart library's script is made by the library itself, once a version, and kept in the
data directory.
"""

from __future__ import annotations

import gzip
import hashlib
import os
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from dashboard.http import Refusal

CHART_SCRIPT: Final = "vega.js"
_MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_FOR_GOOD: Final = "public, max-age=31536000, immutable"
_GZIP_MIN_BYTES: Final = 1024


@dataclass(frozen=True, slots=True)
class _Asset:
    content: bytes
    packed: bytes
    """With gzip; empty = not worth it."""
    media_type: str


class Assets:
    """The static files, in memory: half a megabyte."""

    def __init__(self, chart_script: bytes) -> None:
        """Read the files of the package; take the chart library's script."""
        contents = {path.name: path.read_bytes() for path in files("dashboard").joinpath("static").iterdir()}
        contents[CHART_SCRIPT] = chart_script
        self._by_url: dict[str, _Asset] = {}
        self.urls: dict[str, str] = {}
        """By name."""
        for name, content in contents.items():
            digest = hashlib.sha256(content).hexdigest()[:16]
            stem, ending = os.path.splitext(name)
            url = f"/static/{stem}.{digest}{ending}"
            packed = gzip.compress(content, mtime=0) if len(content) >= _GZIP_MIN_BYTES else b""
            self._by_url[url] = _Asset(content, packed, _MEDIA_TYPES[ending])
            self.urls[name] = url

    async def serve(self, request: Request) -> Response:
        """Answer a request for a static file.

        Raises:
            Refusal: 404.
        """
        asset = self._by_url.get(request.url.path)
        if asset is None:
            raise Refusal(404, "There is no such file.")
        headers = {"Cache-Control": _FOR_GOOD, "Vary": "Accept-Encoding"}
        content = asset.content
        if asset.packed and "gzip" in request.headers.get("accept-encoding", ""):
            content, headers["Content-Encoding"] = asset.packed, "gzip"
        return Response(content, headers=headers, media_type=asset.media_type)


def chart_script(directory: Path) -> bytes | None:
    """Return the chart library's script as it was kept; None = not yet of this version of the library."""
    try:
        return _script_path(directory).read_bytes()
    except FileNotFoundError:
        return None


def keep_chart_script(directory: Path, content: bytes) -> None:
    """Keep the script for the next start: making it takes seconds."""
    path = _script_path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}.part")
    unfinished.write_bytes(content)
    unfinished.replace(path)


def _script_path(directory: Path) -> Path:
    return directory / f"vega-{version('vl-convert-python')}.js"
