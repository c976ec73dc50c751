"""How far back limits are asked for: users and units alike three months, so that forecasts follow them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, cast

from sinks.billing import Billing, LimitsAsked
from sinks.clickhouse.client import ClickHouse
from sinks.clickhouse.reader import named_query
from sinks.price_data import PriceFiles

ACCOUNT = "9001"
PLAN = f"""
[[plans]]
account             = "{ACCOUNT}"
activated           = 2026-01-01
licence             = "monthly"
price               = "100"
currency            = "USD"
mau_package         = 100
conversation_budget = 400
"""
NOW = datetime(2026, 11, 16, tzinfo=UTC)
DAYS = [date.fromordinal(ordinal) for ordinal in range(date(2026, 6, 1).toordinal(), NOW.toordinal())]


class Rows:
    """Stands for ClickHouse: ten conversations and two new users on each day since June."""

    def query(self, sql: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Return the rows of a span of days."""
        days = [day for day in DAYS if parameters["first_day"] <= day <= parameters["last_day"]]
        if sql == named_query("conversation-days"):
            return [(ACCOUNT, day, "1", "DE", "marketing", 10, 0, 10) for day in days]
        if sql == named_query("active-days"):
            return [(ACCOUNT, day, "", "any", 2) for day in days]
        return []


def test_units_follow_three_months_like_users(tmp_path: Path) -> None:
    """150 conversations by the middle of November, ten a day since June: not an even pace, nor October alone."""
    (tmp_path / "plans.toml").write_text(PLAN)
    client = cast("ClickHouse", Rows())
    billing = Billing(lambda: client, PriceFiles(tmp_path / "plans.toml"), lambda _: (("", "UTC"),))
    budget, package = billing.limits(LimitsAsked(accounts=(ACCOUNT,)), NOW)
    assert (budget.limit_name, budget.used, budget.method) == ("conversation_budget", 150, "earlier_months")
    assert budget.projected is not None
    assert 290 <= budget.projected <= 310
    assert (package.limit_name, package.used, package.method) == ("mau_package", 30, "earlier_months")
