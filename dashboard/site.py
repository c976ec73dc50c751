"""What every page works with: the meter, settings, access, exports, and one visitor's request.

Owns finding the account that a request is about, and refusing those that the visitor may not see.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Protocol

from jinja2 import Environment
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from dashboard.access.audit import Audit
from dashboard.access.gate import Gate
from dashboard.access.permissions import Permission, Principal
from dashboard.cache import TimedCache, VersionedCache
from dashboard.http import Refusal
from dashboard.live import LiveSampler
from dashboard.ports import AccountInfo, Meter
from dashboard.recipients import Recipients
from dashboard.views import View, view_of
from runtime.settings import Settings
from sinks.exports.pool import ExportPool
from sinks.mail import MailBudget


class Clock(Protocol):
    """The time."""

    def now_seconds(self) -> int:
        """Return UTC seconds."""
        ...

    def monotonic_seconds(self) -> float:
        """Return seconds of a clock that never goes back."""
        ...


@dataclass(frozen=True, slots=True)
class Site:
    """Everything that pages and API share."""

    meter: Meter
    settings: Callable[[], Settings]
    gate: Gate
    audit: Audit
    pool: ExportPool
    live: LiveSampler
    recipients: Recipients
    mail_budget: MailBudget
    clock: Clock
    templates: Environment
    assets: dict[str, str]
    """URL of each static file by its name; the URL changes with the content."""
    cache: VersionedCache = field(init=False)
    """Answers that are of one version of the totals."""
    choices: TimedCache = field(init=False)
    """What there is to choose from: new accounts and numbers may be missing for half a minute."""

    def __post_init__(self) -> None:
        """Make the caches."""
        cache = VersionedCache(self.meter.data_version, self.clock.monotonic_seconds)
        object.__setattr__(self, "cache", cache)
        object.__setattr__(self, "choices", TimedCache(self.clock.monotonic_seconds))

    def now(self) -> datetime:
        """Return the time in UTC."""
        return datetime.fromtimestamp(self.clock.now_seconds(), UTC)

    async def accounts(self, principal: Principal) -> list[str]:
        """Return the accounts that somebody may choose from, sorted."""
        if principal.accounts is not None:
            return sorted(principal.accounts)
        return await self.choices.get("accounts", self.meter.accounts)

    async def account_info(self, account: str) -> AccountInfo:
        """Return what is known of an account; the caller has checked that it may be seen."""
        # The quarter of an hour is part of the question, since at its ends "today" may become another day.
        quarter = self.clock.now_seconds() // 900
        return await self.choices.get(("account", account, quarter), lambda: self.meter.account(account))


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of somebody who is signed in."""

    site: Site
    request: Request
    principal: Principal

    async def account(self) -> str:
        """Return the account that the URL names, or the first that may be seen.

        Raises:
            Refusal: 404, with the same words for one that is not there and one that may not be seen.
        """
        asked = self.request.query_params.get("account", "")
        if asked:
            return self.allowed(asked)
        accounts = await self.site.accounts(self.principal)
        return accounts[0] if accounts else ""

    def allowed(self, account: str) -> str:
        """Return an account that may be seen.

        Raises:
            Refusal: 404.
        """
        if not self.principal.sees(account) or not account or len(account) > 200:
            raise Refusal(404, f"There is no account {account!r} that you may see.")
        return account

    async def view(self) -> tuple[View, list[str]]:
        """Return what the URL asks for, and the faults in it."""
        account = await self.account()
        length_max_days = self.site.settings().dashboard.range_days_max
        today = self.site.meter.local_day(account).today
        return view_of(self.request.query_params, account, today, length_max_days)

    def may(self, permission: str) -> bool:
        """Tell whether something is allowed; for templates, which write its name."""
        return self.principal.may(Permission(permission))

    async def render(self, template: str, status: int = 200, **context: object) -> Response:
        """Return a page."""
        accounts = await self.site.accounts(self.principal)
        text = self.site.templates.get_template(template).render(
            visit=self,
            principal=self.principal,
            accounts=accounts,
            names=self.site.settings().accounts,
            assets=self.site.assets,
            path=self.request.url.path,
            **context,
        )
        return HTMLResponse(text, status)

    def note(self, event: str, account: str, what: str) -> None:
        """Write into the audit log what was done."""
        self.site.audit.write(
            event,
            who=self.principal.name,
            role=self.principal.role,
            account=account,
            what=what,
            address=self.site.gate.address_of(self.request),
            at=self.site.now(),
        )


Handler = Callable[[Visit], Awaitable[Response]]


def month_of(text: str, today: date) -> date:
    """Return the 1st of a month "YYYY-MM"; empty = the current one.

    Raises:
        Refusal: 400, it is none or lies in the future.
    """
    if not text:
        return today.replace(day=1)
    try:
        first = datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC).date()
    except ValueError:
        raise Refusal(400, "month: expected YYYY-MM") from None
    if not date(1970, 1, 1) <= first <= today:
        raise Refusal(400, f"month: expected one up to {today:%Y-%m}")
    return first
