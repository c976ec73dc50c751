"""Saves files from pages, and looks into pictures by letting the browser decode them."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from playwright.sync_api import Page

_LOOK: Final = """async ([source, colour]) => {
  const image = new Image();
  image.src = source;
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = image.width; canvas.height = image.height;
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const data = context.getImageData(0, 0, image.width, image.height).data;
  let found = 0;
  for (let i = 0; i < data.length; i += 4)
    if (colour.every((value, place) => Math.abs(data[i + place] - value) < 12)) found++;
  return [image.width, image.height, found];
}"""


@dataclass(frozen=True, slots=True)
class Picture:
    """What a browser sees in a picture."""

    width: int
    height: int
    coloured: int
    """How many of its pixels have the colour asked for."""


def saved(page: Page, start: Callable[[], None], directory: Path) -> tuple[bytes, str]:
    """Return the file whose download something starts, and its name."""
    with page.expect_download() as waiting:
        start()
    name = waiting.value.suggested_filename
    path = directory / name
    waiting.value.save_as(path)
    return path.read_bytes(), name


def downloaded(page: Page, name: str, directory: Path) -> bytes:
    """Return a file of the download menu."""
    page.locator("details.menu > summary").first.click()
    content, _ = saved(page, lambda: page.get_by_role("link", name=name).click(), directory)
    page.keyboard.press("Escape")
    return content


def picture_of(page: Page, content: bytes, media_type: str, colour: tuple[int, int, int]) -> Picture:
    """Return the size of a picture and how much of it has a colour; a file that is no such picture is refused."""
    source = f"data:image/{media_type};base64,{base64.b64encode(content).decode()}"
    return Picture(*page.evaluate(_LOOK, [source, list(colour)]))
