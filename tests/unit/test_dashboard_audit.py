"""Who reads what of the audit log: what an entry is about may name users and addresses of its account."""

from __future__ import annotations

from pathlib import Path

import pytest

from dashboard.access.permissions import Permission
from tests.support.dashboards import FOREIGN, OWN, Served, serving_dashboard

pytestmark = pytest.mark.anyio
USERS = {"root": ("admin", None), "ann": ("admin", (OWN,)), "annabel": ("admin", (FOREIGN,))}


async def page_of(served: Served, name: str) -> str:
    """Return what somebody reads."""
    response = await (await served.signed_in(name)).get("/audit")
    assert response.status_code == 200
    return response.text


async def test_an_administrator_reads_of_the_accounts_that_he_sees(tmp_path: Path) -> None:
    """His own doings, and what others did with his accounts; whoever sees all accounts reads everything."""
    async with serving_dashboard(tmp_path, users=USERS) as served:
        for name, account, user in (
            ("root", OWN, "4915111"),
            ("root", FOREIGN, "4915222"),
            ("ann", OWN, "4915333"),
        ):
            token = served.token(name, *Permission)
            client = served.client(Authorization=f"Bearer {token}")
            looked = await client.get(f"/api/v1/windows?account={account}&user={user}")
            assert looked.status_code == 200
        marks = ("4915111", "4915222", "4915333")
        pages = {name: await page_of(served, name) for name in reversed(USERS)}
        read = {name: [mark for mark in marks if mark in page] for name, page in pages.items()}
        assert read == {
            "root": list(marks),
            "ann": ["4915111", "4915333"],
            # Not those of one whose name begins like his.
            "annabel": ["4915222"],
        }
        assert "annabel" not in pages["ann"]
        assert pages["root"].count("sign_in") == len(USERS) > pages["ann"].count("sign_in") > 0
