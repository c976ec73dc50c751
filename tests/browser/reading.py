"""Reads the dashboard's pages and uses their forms, as a person does."""

from __future__ import annotations

from playwright.sync_api import Locator, Page

from dashboard.periods import Duration


def number(text: str) -> int:
    """Return a number that was written with its thousands apart."""
    return int(text.replace(",", ""))


def table_cells(page: Page, name: str) -> list[list[str]]:
    """Return the cells of a table's body, row by row, as they are read."""
    return cells_of(page.locator(f"[data-table={name}] tbody tr"))


def cells_of(rows: Locator) -> list[list[str]]:
    """Return the cells of rows; all at once, since a call for each of some hundred cells takes a while."""
    found: list[list[str]] = rows.evaluate_all(
        "rows => rows.map(row => [...row.cells].map(cell => cell.textContent.trim().replace(/\\s+/g, ' ')))"
    )
    return found


def choose(page: Page, duration: Duration, numbers: tuple[str, ...], countries: tuple[str, ...]) -> None:
    """Choose on the overview what to show, and apply it."""
    page.get_by_label("Duration").select_option(duration.value)
    for legend, values in (("Business number", numbers), ("Country", countries)):
        if values:
            page.locator("details.choices", has=page.locator(f"summary[aria-label^='{legend}']")).click()
            for value in values:
                page.locator(f"input[type=checkbox][value='{value}']").check()
            page.keyboard.press("Escape")
    before = page.url
    page.get_by_role("button", name="Apply").click()
    page.wait_for_function("url => location.href !== url", arg=before)


def figures(page: Page) -> dict[str, int]:
    """Return every count of the overview's tiles, "tile.figure" each, and those of all tiles together."""
    found = {}
    for tile in page.locator("[data-tile]").all():
        key = tile.get_attribute("data-tile")
        for figure in tile.locator("[data-figure]").all():
            name = figure.get_attribute("data-figure")
            if name != "cost":
                found[f"{key}.{name}"] = number(figure.inner_text())
    for name in ("all-conversations", "all-messages", "all-incoming"):
        found[name] = number(page.locator(f"[data-figure={name}]").inner_text())
    return found


def costs(page: Page) -> dict[str, list[str]]:
    """Return the cost of each tile that shows one, and under "all" that of all together: its lines."""
    found = {}
    for tile in page.locator("[data-tile]", has=page.locator("[data-figure=cost]")).all():
        cost = tile.locator("[data-figure=cost]")
        found[str(tile.get_attribute("data-tile"))] = [
            each.strip() for each in cost.locator("span").all_inner_texts() or [cost.inner_text()]
        ]
    found["all"] = page.locator("[data-figure=all-cost]").all_inner_texts() or ["nothing charged"]
    return found


def changes(page: Page) -> dict[str, str]:
    """Return by tile, and under "all", how it changed against the period before, in the page's words."""
    found = {
        str(tile.get_attribute("data-tile")): tile.locator(".change").inner_text()
        for tile in page.locator("[data-tile]").all()
    }
    whole = page.locator("p.totals").inner_text()
    found["all"] = whole.partition("(")[2].partition(")")[0]
    return found


def parts(page: Page, column: str) -> list[list[int | str]]:
    """Return the table by "number" or "country": the key that each line leads to, then its counts."""
    rows = page.locator(f"[data-table={column}] tbody tr")
    # A country is shown by its name; its link has the code.
    keys: list[str] = rows.evaluate_all(
        "(rows, name) => rows.map(row => new URL(row.querySelector('a').href).searchParams.get(name))", column
    )
    return [[key, *map(number, cells[1:])] for key, cells in zip(keys, cells_of(rows), strict=True)]
