"""The tables of the settings that are about the dashboard: pages, access, exports, e-mail.

Owns names, defaults and limits. Does not own what they are used for.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_network
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator

from runtime.setting_tables import MIB, Secret, Table, split_list

Words = Annotated[tuple[str, ...], BeforeValidator(split_list)]
_DOMAIN = re.compile(r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]")
_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_HEADER = re.compile(r"[A-Za-z0-9-]{0,64}")


class MailSettings(Table):
    """The mail server that exports are sent by."""

    host: Annotated[str, Field(description="mail server; empty = nothing is sent by e-mail")] = ""
    port: Annotated[int, Field(ge=1, le=65_535, description="its port")] = 587
    security: Annotated[
        Literal["starttls", "tls", "none"],
        Field(description="starttls: refused unless the server offers it; tls: from the first byte"),
    ] = "starttls"
    username: Annotated[str, Field(description="for its sign-in; empty = none")] = ""
    password: Annotated[SecretStr, Field(description="for its sign-in")] = SecretStr("")
    ca_file: Annotated[Path | None, Field(description="authorities to trust, PEM; none = the system's")] = (
        None
    )
    sender: Annotated[str, Field(description="address that mails come from")] = ""
    allowed_domains: Annotated[
        Words, Field(description="domains that may be sent to; empty = the sender's only, * = any")
    ] = ()
    recipients_max: Annotated[int, Field(ge=1, le=100, description="recipients of one mail")] = 10
    mails_per_hour_max: Annotated[int, Field(ge=1, le=10_000, description="mails of one user in an hour")] = (
        20
    )
    timeout_seconds: Annotated[float, Field(gt=0, le=120, description="for one answer, seconds")] = 20.0

    @field_validator("allowed_domains")
    @classmethod
    def _are_domains(cls, domains: tuple[str, ...]) -> tuple[str, ...]:
        lower = tuple(domain.lower() for domain in domains if domain)
        if not all(domain == "*" or _DOMAIN.fullmatch(domain) for domain in lower):
            raise ValueError("domains such as example.com, or *")
        return lower

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.host and not re.fullmatch(r"[^@\s]+@[^@\s]+", self.sender):
            raise ValueError("sender, an address such as billing@example.com, with host")
        if bool(self.username) != bool(self.password.get_secret_value()):
            raise ValueError("username and password, both or none")
        if self.username and self.security == "none" and self.host not in ("127.0.0.1", "::1", "localhost"):
            raise ValueError("security starttls or tls with a password")
        return self


class DashboardSettings(Table):
    """The billing dashboard."""

    host: Annotated[str, Field(min_length=1, description="address to listen on")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535, description="port to listen on; 0 = any free one")] = 8082
    metrics_host: Annotated[
        str, Field(min_length=1, description="address of its metrics, where it is a process of its own")
    ] = "127.0.0.1"
    metrics_port: Annotated[
        int, Field(ge=0, le=65_535, description="port of its metrics; 0 = any free one")
    ] = 8083
    is_enabled: Annotated[bool, Field(description="whether `run` serves it")] = True
    public_url: Annotated[
        str, Field(description="how browsers reach it, https://HOST; empty = as it listens")
    ] = ""
    users: Annotated[Path | None, Field(description="file of users and tokens; default: DATA/users.json")] = (
        None
    )
    session_hours: Annotated[float, Field(gt=0, le=720, description="a sign-in lasts, hours")] = 12.0
    session_idle_minutes: Annotated[
        float, Field(gt=0, le=43_200, description="without a request it ends after, minutes")
    ] = 120.0
    trusted_header: Annotated[
        str, Field(description="header in which a proxy names who signed in there; empty = own sign-in")
    ] = ""
    trusted_proxies: Annotated[
        Words, Field(description="addresses or networks of proxies: their headers are believed")
    ] = ()
    sign_in_failures_max: Annotated[
        int, Field(ge=1, le=1000, description="failed sign-ins of a name or address, then it has to wait")
    ] = 5
    audit_bytes_max: Annotated[
        int, Field(ge=MIB, description="size at which the audit log begins a new file, bytes")
    ] = 64 * MIB
    range_days_max: Annotated[int, Field(ge=31, le=400, description="longest range shown, days")] = 400
    export_queue_max: Annotated[
        int, Field(ge=1, le=1000, description="exports that wait or run; beyond it 429 is answered")
    ] = 8
    export_timeout_seconds: Annotated[float, Field(gt=0, le=600, description="for one export, seconds")] = (
        60.0
    )
    workers: Annotated[
        Words,
        Field(description="addresses of workers (http://HOST:8081), for users' windows and live figures"),
    ] = ()
    worker_token: Annotated[Secret | None, Field(description="one of the workers' worker.query_tokens")] = (
        None
    )
    mail: Annotated[MailSettings, Field(description="the mail server")] = MailSettings()

    @field_validator("public_url")
    @classmethod
    def _is_origin(cls, url: str) -> str:
        return _origin_of(url) if url else ""

    @field_validator("workers")
    @classmethod
    def _are_urls(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        if not all(urlsplit(url).scheme in ("http", "https") and urlsplit(url).hostname for url in urls):
            raise ValueError("http://HOST:PORT, or a list of them")
        return tuple(url.rstrip("/") for url in urls)

    @field_validator("trusted_header")
    @classmethod
    def _is_header(cls, name: str) -> str:
        if not _HEADER.fullmatch(name):
            raise ValueError("a header's name such as X-Forwarded-User")
        return name

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            ip_network(network)
        return networks

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.trusted_header and not self.trusted_proxies:
            raise ValueError("trusted_proxies with trusted_header: anyone could send it otherwise")
        return self


def _origin_of(url: str) -> str:
    """Return an origin as browsers write it: they are compared as texts.

    Raises:
        ValueError: it is none.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    is_bare = not (parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc)
    if parts.scheme not in _DEFAULT_PORTS or not host or not is_bare:
        raise ValueError("https://HOST[:PORT]")
    if ":" in host:
        host = f"[{IPv6Address(host).compressed}]"
    elif not _HOST.fullmatch(host):
        raise ValueError("https://HOST[:PORT], with a host of a-z 0-9 . _ - (others as xn--...)")
    is_usual = parts.port in (None, _DEFAULT_PORTS[parts.scheme])
    return f"{parts.scheme}://{host}" + ("" if is_usual else f":{parts.port}")
