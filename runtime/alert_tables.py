"""The table of the settings that is about notices: where they are given, and whom they go to.

Owns names, defaults and limits. Does not own what they are used for.
"""

from __future__ import annotations

from base64 import b64decode
from decimal import Decimal
from ipaddress import ip_network
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, field_validator

from runtime.dashboard_tables import Words
from runtime.setting_tables import Secrets, Table, split_list
from schemas.thresholds import DEFAULT_THRESHOLDS, read_thresholds


def _thresholds(value: object) -> object:
    # Words between commas have no quotes to leave out; a list, of the file or as JSON, has.
    are_words = isinstance(value, str) and not value.lstrip().startswith("[")
    return read_thresholds(split_list(value), are_words=are_words)


class AlertWebhook(Table):
    """One address that notices are posted to."""

    # Addresses of chat services are secrets themselves.
    url: Annotated[SecretStr, Field(description="https://HOST/PATH")]
    secrets: Annotated[
        Secrets, Field(min_length=1, description="to sign by; all at once while one is replaced")
    ]
    accounts: Annotated[Words, Field(description="only notices about these; empty = all")] = ()

    @field_validator("url")
    @classmethod
    def _is_url(cls, url: SecretStr) -> SecretStr:
        parts = urlsplit(url.get_secret_value())
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.fragment:
            raise ValueError("https://HOST[:PORT]/PATH, without name and password")
        return url

    @field_validator("secrets")
    @classmethod
    def _are_keys(cls, secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for secret in secrets:
            text = secret.get_secret_value()
            if text.startswith("whsec_"):
                b64decode(text.removeprefix("whsec_"), validate=True)
        return secrets


class AlertEmail(Table):
    """One group of people who are written to."""

    to: Annotated[Words, Field(min_length=1, description="addresses")]
    accounts: Annotated[Words, Field(description="only notices about these; empty = all")] = ()

    @field_validator("to")
    @classmethod
    def _are_addresses(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        for address in addresses:
            local, at, domain = address.rpartition("@")
            if not (local and at and domain) or any(each.isspace() for each in address):
                raise ValueError("addresses such as billing@example.com")
        return addresses


class AlertSettings(Table):
    """Notices before a limit is used up."""

    thresholds: Annotated[
        tuple[str, ...],
        BeforeValidator(_thresholds),
        Field(description="where notices are given, unless a plan says others"),
    ] = DEFAULT_THRESHOLDS
    hysteresis_percent: Annotated[
        Decimal, Field(ge=0, le=50, description="of the limit, by which a count must fall below a threshold")
    ] = Decimal(1)
    webhooks: Annotated[
        tuple[AlertWebhook, ...], Field(description="addresses that notices are posted to")
    ] = ()
    emails: Annotated[tuple[AlertEmail, ...], Field(description="people who are written to")] = ()
    allowed_networks: Annotated[
        Words, Field(description="networks that webhooks may go to beside the public Internet")
    ] = ()
    timeout_seconds: Annotated[float, Field(gt=0, le=120, description="for one answer, seconds")] = 10.0
    give_up_hours: Annotated[float, Field(gt=0, le=720, description="a notice is tried this long, hours")] = (
        72.0
    )

    @field_validator("allowed_networks")
    @classmethod
    def _are_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            ip_network(network)
        return networks
