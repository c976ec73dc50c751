"""The shapes of the API's answers, for its OpenAPI document. Amounts and rates are decimal text.

Owns names and descriptions. What the figures mean is in docs/spec/metering.md.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Generic, Literal, TypeVar

from pydantic import BaseModel, Field

Item = TypeVar("Item")


class Problem(BaseModel):
    """Every error (RFC 9457)."""

    type: str = "about:blank"
    title: str = Field(description="the status in words")
    status: int
    detail: str = Field(description="what is wrong and what to do")
    errors: list[str] = Field(description="single faults of the input")


_ZONE = (
    "IANA zone that the account's days and months are in; where it changed, that of the last day asked for"
)


class Page(BaseModel, Generic[Item]):
    """One page of rows."""

    data: list[Item]
    next: str | None = Field(
        description="give it as `after` for the rows behind these; null = there are none"
    )
    time_zone: str = Field(description=_ZONE)


class UsageRow(BaseModel):
    """Outgoing messages of one day and kind."""

    day: date
    account: str
    number: str
    country: str = Field(description='ISO 3166 alpha-2; "ZZ" = not known')
    category: str = Field(description='"" = none')
    template: bool | None
    total: int
    sent: int
    delivered: int
    read: int
    not_delivered: int


class ConversationRow(BaseModel):
    """Conversations of one day and type."""

    day: date
    account: str
    number: str
    country: str
    type: str
    total: int
    free: int
    charged: int


class IncomingRow(BaseModel):
    """Incoming messages of one day."""

    day: date
    account: str
    number: str
    country: str
    count: int


class ActiveUsersRow(BaseModel):
    """Active users of one month. Those of several numbers are never added up: one person may be in several."""

    month: str = Field(description="YYYY-MM")
    account: str
    number: str = Field(description='"" = the whole account')
    mau: int
    mau_both: int
    mau_phones: int
    package: int | None = Field(None, description="where a plan is in force, and no country was asked for")
    balance: int | None = None
    amau: int | None = None


class NoticeRow(BaseModel):
    """A notice about a limit: a threshold was crossed, or the count fell back below it."""

    id: str = Field(description="the same in every copy of the notice")
    month: str = Field(description="YYYY-MM")
    account: str
    number: str = Field(description='"" = the whole account')
    limit_name: Literal["mau_package", "free_service", "conversation_budget"]
    threshold: str = Field(description='such as "80%", or a count')
    threshold_count: int
    n: int = Field(description="among those of its threshold in the month: odd = crossed, even = recovered")
    kind: Literal["crossed", "recovered"]
    level: Literal["ok", "warning", "exhausted"]
    level_before: Literal["ok", "warning", "exhausted"]
    limit: int
    used: int
    cause: Literal["count", "plan"]
    is_past: bool = Field(description="the month was final already: nobody was written to")
    received_until: datetime
    noticed_at: datetime


class ChargeRow(BaseModel):
    """One line of charges: units of one day and kind at one rate."""

    day: date
    account: str
    number: str
    country: str
    market: str
    unit: Literal["message", "conversation"]
    category: str
    regime: date = Field(description="first day of the regime it is priced under")
    currency: str
    rate: str | None = Field(description="null = no rate is known, which is not 0")
    count: int
    free: int
    allotted: int = Field(description="of `free`: by the month's allotment")
    charged: int
    amount: str | None = Field(description="null = something is charged that has no rate")
    provider_free: int | None
    provider_charged: int | None
    provider_unsaid: int | None
    provider_amount: str | None


class LimitRow(BaseModel):
    """How far one limit of a month is used up."""

    month: str
    account: str
    number: str = Field(description='"" = the limit is the whole account\'s')
    limit_name: Literal["mau_package", "free_service", "conversation_budget", "volume_tier"]
    market: str
    category: str
    limit: int | None
    used: int
    left: int | None
    used_percent: str | None
    projected: int | None
    exhausted_on: date | None
    method: Literal["complete", "earlier_months", "last_month", "growth_curve", "straight_line", "too_early"]
    projected_low: int | None = Field(description="four of five months are to end between this and the next")
    projected_high: int | None
    exhausted_from: date | None = Field(description="at the high bound")
    exhausted_to: date | None = Field(description="at the low bound; null = then not in this month")
    projected_amau: int | None = Field(description="users beyond the package by the month's end")
    projected_amau_cost: str | None = Field(description="null = too early, or no price agreed")
    currency: str


class Limits(BaseModel):
    """All limits of an account's month."""

    data: list[LimitRow]


class Account(BaseModel):
    """An account that may be seen."""

    account: str
    name: str = Field(description='"" = it has none')


class AccountDetails(Account):
    """What there is to choose from in an account."""

    time_zone: str = Field(description="IANA zone in force now")
    numbers: list[str]
    countries: list[str]
    first_day: date | None
    last_day: date | None
    today: date


class SummaryTile(BaseModel):
    """One tile of the usage summary."""

    key: str
    title: str
    conversations: int
    free: int
    charged: int
    previous: int = Field(description="conversations of the period before")
    messages: int | None = Field(
        description="delivered ones; of `free` those that nothing is charged for, null = no permission `money`"
    )
    costs: list[Cost] | None = Field(description="null = no permission `money`")


class Cost(BaseModel):
    """An amount of one currency."""

    currency: str
    amount: str
    unrated: int = Field(description="charged units that no card has a rate for; they are not in the amount")


class Summary(BaseModel):
    """The usage summary of a span of days."""

    account: str
    time_zone: str = Field(description=_ZONE)
    first_day: date
    last_day: date
    previous_first_day: date | None
    previous_last_day: date | None
    tiles: list[SummaryTile]
    total: SummaryTile
    incoming: int


class PartitionFreshness(BaseModel):
    """How far one partition of the input is counted."""

    partition: int
    position: int
    received_until: datetime | None
    flushed_at: datetime


class RefusedLetter(BaseModel):
    """Something that could not be counted."""

    id: int
    reason: str
    detail: str
    account: str
    received_at: datetime


class Minute(BaseModel):
    """What one minute added to the totals of an account."""

    at: datetime
    messages: int
    delivered: int
    read: int
    not_delivered: int
    incoming: int


class LadderRow(BaseModel):
    """What became of a number's messages of the last hours, each looked at some time after it was first heard of."""

    number: str
    messages: int
    silent: int = Field(description="sent, and nothing since")
    read_without_delivered: int
    delivered_without_sent: int
    expected_silent: float | None = Field(
        description="at the share of the seven days before; null = not known"
    )
    expected_read_without_delivered: float | None
    expected_delivered_without_sent: float | None


class Live(BaseModel):
    """What happens now."""

    account: str
    sampled_at: datetime | None
    minutes: list[Minute]
    freshness: list[PartitionFreshness]
    ladder: list[LadderRow] = Field(description="health of the traffic by number; follows live messages only")
    refused: list[RefusedLetter] | None = Field(
        description="newest first, of all accounts that may be seen; null = they cannot be read now"
    )


class Window(BaseModel):
    """A conversation, or a customer service window."""

    type: str
    number: str
    opened_at: datetime
    ends_at: datetime
    is_open: bool
    messages: int | None
    is_charged: bool | None


class Windows(BaseModel):
    """One user's windows, newest first."""

    account: str
    user: str
    names: list[str]
    is_known: bool
    customer_service: list[Window]
    conversations: list[Window]
    kept_from: datetime | None


SummaryTile.model_rebuild()
