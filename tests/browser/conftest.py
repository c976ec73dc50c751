"""A dashboard of a real ``run`` over generated traffic, a mail server, and Chromium.

Owns when they start and end, and that nothing leaves the machine: every page of every test is watched.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.support.dashboard_process import PASSWORD, MailBox, RunningDashboard, mail_box, running_dashboard

REQUIRE_BROWSER: Final = "CONVOMETER_TEST_REQUIRE_BROWSER"
_NAMES: Final = ("chromium", "chromium-browser", "google-chrome")


def _chromium() -> str:
    """Return where Chromium is; skip where there is none, or fail if this machine is meant to have it."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        message = "browser tests were NOT run: there is no Chromium (Debian: apt-get install chromium)"
        if os.environ.get(REQUIRE_BROWSER) == "1":
            pytest.fail(f"{REQUIRE_BROWSER}=1, but {message}", pytrace=False)
        pytest.skip(message)
    return found


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Return Chromium, for the tests of this directory alone: while it is open, an event loop runs in this process."""
    path = _chromium()
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def mail() -> Iterator[MailBox]:
    """Return a mail server; nothing is started where there is no browser."""
    _chromium()
    with mail_box() as box:
        yield box


@pytest.fixture(scope="session")
def dashboard(tmp_path_factory: pytest.TempPathFactory, mail: MailBox) -> Iterator[RunningDashboard]:
    """Return a dashboard with traffic of the last weeks."""
    directory: Path = tmp_path_factory.mktemp("dashboard")
    with running_dashboard(directory, mail.port) as running:
        yield running


NewContext = Callable[..., BrowserContext]


@pytest.fixture
def new_context(browser: Browser, dashboard: RunningDashboard) -> Iterator[NewContext]:
    """Return what opens a browser window of its own. At the end nothing may have tried to leave the machine.

    Also, no page may have done what its content security policy forbids, nor have logged an error.
    """
    contexts: list[BrowserContext] = []
    outside: list[str] = []
    violations: list[str] = []
    errors: list[str] = []

    def open_context(**options: object) -> BrowserContext:
        context = browser.new_context(base_url=dashboard.url, **options)  # type: ignore[arg-type]
        context.set_default_timeout(15_000)
        context.on(
            "request",
            lambda request: (
                outside.append(request.url) if urlsplit(request.url).hostname != "127.0.0.1" else None
            ),
        )
        context.on(
            "console",
            lambda message: (
                violations.append(message.text) if "Content Security Policy" in message.text else None
            ),
        )
        context.on("weberror", lambda error: errors.append(str(error.error)))
        contexts.append(context)
        return context

    yield open_context
    for context in contexts:
        context.close()
    assert outside == []
    assert violations == []
    assert errors == []


@pytest.fixture
def page(new_context: NewContext, dashboard: RunningDashboard) -> Page:
    """Return a window in which an administrator is signed in."""
    return signed_in(new_context(viewport={"width": 1280, "height": 900}), dashboard)


def signed_in(context: BrowserContext, dashboard: RunningDashboard, name: str = "root") -> Page:
    """Sign somebody in through the form."""
    del dashboard
    opened = context.new_page()
    opened.goto("/sign-in")
    opened.get_by_label("Name").fill(name)
    opened.get_by_label("Password").fill(PASSWORD)
    opened.get_by_role("button", name="Sign in").click()
    opened.wait_for_url(re.compile(r"/overview"))
    return opened
