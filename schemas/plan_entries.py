"""One entry of a plan file: its keys, what each may hold, and what a fault of it says.

Owns what can be judged by one entry alone. What entries must be to each other is ``schemas.plan_files``.
"""

from __future__ import annotations

from datetime import date
from difflib import get_close_matches
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from schemas.money import MICROS, Micros, is_currency, minor_unit_digits, parse_micros
from schemas.plans import CONVERSATION_TYPES, Licence, MauRule, TierSource
from schemas.thresholds import read_thresholds


def _amount(value: object) -> Micros:
    if isinstance(value, float):
        raise ValueError(f'an amount in quotes, such as "{value}": a binary fraction is not exact')
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError('an amount in quotes, such as "0.05"')
    return parse_micros(str(value))


def _day(value: object) -> object:
    if isinstance(value, str):
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise ValueError("a day as YYYY-MM-DD") from None
    if isinstance(value, date) and type(value) is date:
        return value
    raise ValueError("a day as YYYY-MM-DD")


def _currency(value: object) -> object:
    if not isinstance(value, str) or not is_currency(value):
        raise ValueError("the code of a currency such as EUR (ISO 4217)")
    return value


def _id(value: object) -> object:
    # Ids of accounts and numbers are long numbers, which people forget to quote.
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Amount = Annotated[int, BeforeValidator(_amount)]
Day = Annotated[date, BeforeValidator(_day)]
Currency = Annotated[str, BeforeValidator(_currency)]
Id = Annotated[str, BeforeValidator(_id)]
ConversationType = Literal[
    "service", "utility", "authentication", "authentication_international", "marketing", "unknown"
]
"""A free entry point is never charged, so that it has no price."""
assert {*get_args(ConversationType), "free_entry_point"} == set(CONVERSATION_TYPES)


class PlanEntry(BaseModel):
    """One ``[[plans]]`` of a file. Descriptions are those of the guide."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    account: Annotated[Id, Field(min_length=1, description="account (WABA) id")]
    number: Annotated[Id, Field(description="business number id; left out = the whole account")] = ""
    activated: Annotated[Day | None, Field(description="day on which the licence was activated")] = None
    effective: Annotated[Day | None, Field(description="first local day of these terms")] = None
    until: Annotated[Day | None, Field(description="last day of the licence, the end of a month")] = None
    licence: Annotated[Licence, Field(description="monthly, annual or none")]
    price: Annotated[Amount, Field(description="of a whole licence period, VAT included")] = 0
    currency: Annotated[Currency, Field(description="ISO 4217")]
    vat_percent: Annotated[Amount | None, Field(ge=0, le=100 * MICROS, description="VAT in the prices")] = (
        None
    )
    mau_package: Annotated[int, Field(ge=0, strict=True, description="active users a month in the price")] = 0
    mau_rule: Annotated[MauRule, Field(description="who is active: any or both")] = "any"
    amau_price: Annotated[Amount | None, Field(description="of each active user beyond the package")] = None
    rate_currency: Annotated[
        Currency | None, Field(description="in which the provider bills the account")
    ] = None
    volume_tiers: Annotated[TierSource, Field(description="none, counted or reported")] = "none"
    conversation_budget: Annotated[
        int, Field(ge=0, strict=True, description="charged conversations a month to be warned of")
    ] = 0
    alert_thresholds: Annotated[
        tuple[str, ...] | None, BeforeValidator(read_thresholds), Field(description="where notices are given")
    ] = None
    conversation_prices: Annotated[
        dict[ConversationType, Amount], Field(description="of a charged conversation, by type")
    ] = Field(default_factory=dict)
    conversation_market_prices: Annotated[
        dict[str, dict[ConversationType, Amount]], Field(description="the same by market; goes first")
    ] = Field(default_factory=dict)

    def faults(self, markets: frozenset[str] | None) -> list[str]:
        """Return what is wrong with an entry whose keys are all right by themselves."""
        faults = []
        if self.activated is None and self.effective is None:
            faults.append("activated: found nothing, expected the day on which the licence was activated")
        if self.licence == "none" and self.price:
            faults.append(
                "price: found a price without a licence, expected none, or licence monthly or annual"
            )
        if self.licence != "none" and "price" not in self.model_fields_set:
            faults.append(f"price: found nothing, expected the price of the {self.licence} licence")
        if self.price % (MICROS // 10 ** min(6, minor_unit_digits(self.currency))):
            digits = minor_unit_digits(self.currency)
            faults.append(f"price: found more than the {digits} decimals that {self.currency} has")
        for market in self.conversation_market_prices if markets is not None else ():
            if market not in (markets or ()):
                hint = _close(market, sorted(markets or ()))
                faults.append(
                    f"conversation_market_prices.{market}: found an unknown market, expected {hint}"
                )
        return faults


def entry_of(content: object) -> tuple[PlanEntry | None, list[str]]:
    """Return an entry, or what is wrong with each of its keys."""
    try:
        return PlanEntry.model_validate(content), []
    except ValidationError as error:
        return None, [_sentence(detail) for detail in error.errors(include_url=False)]


def _sentence(detail: ErrorDetails) -> str:
    location = [str(part) for part in detail["loc"] if part != "[key]"]
    label, found = ".".join(location) or "plans", _found(detail["input"])
    if detail["type"] == "extra_forbidden":
        return f"{label}: found an unknown key, expected {_close(location[-1], list(PlanEntry.model_fields))}"
    if detail["type"] == "missing":
        return f"{label}: found nothing, expected {PlanEntry.model_fields[location[0]].description}"
    expected = detail["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if label == "vat_percent" and detail["type"] == "less_than_equal":
        expected = "at most 100"
    return f"{label}: found {found}, expected {expected}"


def _found(value: object) -> str:
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    return repr(value)[:80]


def _close(word: str, names: list[str]) -> str:
    near = get_close_matches(word, names, n=1, cutoff=0.6)
    return f"{near[0]}?" if near else f"one of {', '.join(names)}"
