"""The table of the settings that is about notices: where they are given, and whom they go to.

Owns names, defaults and limits. Does not own what they are used for.
"""

from __future__ import annotations

from decimal import Decimal
from ipaddress import ip_network
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, field_validator

from runtime.dashboard_tables import Words
from runtime.setting_tables import Secrets, Table, split_list
from schemas.mail_addresses import checked_address
from schemas.thresholds import DEFAULT_THRESHOLDS, read_thresholds
from schemas.webhook_secrets import SECRET_PREFIX, key_of

_KEY_BYTES_MIN = 8


def _thresholds(value: object) -> object:
    # Words between commas have no quotes to leave out; a list, of the file or as JSON, has.
    are_words = isinstance(value, str) and not value.lstrip().startswith("[")
    return read_thresholds(split_list(value), are_words=are_words)


def _is_web_address(text: str) -> bool:
    """Tell whether a text is an address that can be posted to, in letters that need no translation."""
    if not text.isascii() or not text.isprintable() or " " in text:
        return False
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
        host.encode("idna")  # as the look-up of the name will: no label may be empty or too long
    except ValueError:
        return False
    has_more = "@" in parts.netloc or "#" in text
    return text.startswith(("https://", "http://")) and bool(host) and port != 0 and not has_more


def _is_key(secret: str) -> bool:
    """Tell whether a secret can be signed by: after its beginning stands base64 of enough bytes, if it has that."""
    try:
        key = key_of(secret)
    except ValueError:
        return False
    return not secret.startswith(SECRET_PREFIX) or len(key) >= _KEY_BYTES_MIN


class AlertWebhook(Table):
    """One address that notices are posted to."""

    # Addresses of chat services are secrets themselves.
    url: Annotated[SecretStr, Field(description="https://HOST/PATH")]
    secrets: Annotated[
        Secrets, Field(min_length=1, description="to sign by; all at once while one is replaced")
    ]
    name: Annotated[
        str, Field(max_length=60, description="stays when the url changes, so that what is owed goes on")
    ] = ""
    accounts: Annotated[Words, Field(description="only notices about these; empty = all")] = ()

    @field_validator("url")
    @classmethod
    def _is_url(cls, url: SecretStr) -> SecretStr:
        if not _is_web_address(url.get_secret_value()):
            raise ValueError(
                "https://HOST[:PORT]/PATH in ASCII (names in other letters as xn--...), without name, password and #"
            )
        return url

    @field_validator("secrets")
    @classmethod
    def _are_keys(cls, secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if not all(_is_key(secret.get_secret_value()) for secret in secrets):
            raise ValueError(f"after whsec_ base64 of at least {_KEY_BYTES_MIN} bytes, in each")
        return secrets


class AlertEmail(Table):
    """One group of people who are written to."""

    to: Annotated[Words, Field(min_length=1, description="addresses")]
    accounts: Annotated[Words, Field(description="only notices about these; empty = all")] = ()

    @field_validator("to")
    @classmethod
    def _are_addresses(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(map(checked_address, addresses))
        except ValueError:
            raise ValueError("plain addresses such as billing@example.com, one in each text") from None


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
            try:
                ip_network(network)
            except ValueError:
                raise ValueError(
                    "networks such as 10.1.0.0/16, without a host's bits, or single addresses"
                ) from None
        return networks

    # What is owed to a webhook is known by its name or address: two of one would be one, with the accounts of one.
    @field_validator("webhooks")
    @classmethod
    def _webhooks_differ(cls, webhooks: tuple[AlertWebhook, ...]) -> tuple[AlertWebhook, ...]:
        if len({webhook.url.get_secret_value() for webhook in webhooks}) < len(webhooks):
            raise ValueError("each url once, with the accounts of all in one")
        names = [webhook.name for webhook in webhooks if webhook.name]
        if len(set(names)) < len(names):
            raise ValueError("each name once")
        return webhooks
