"""The settings that are about notices: each fault in words, and no address that is a secret in any of them."""

from __future__ import annotations

import pytest

from cli.notices import channels_of
from runtime.clock import SystemClock
from tests.support.alerts import notice_of
from tests.support.settings import Loader

ADDRESS = "https://hooks.example/services/T0/geheim"
WEBHOOK = '[[alerts.webhooks]]\nurl = "{url}"\nsecrets = ["{secret}"]\n'


def webhook(url: str = ADDRESS, secret: str = "a secret of ours") -> str:
    """Return the settings of one webhook."""
    return WEBHOOK.format(url=url, secret=secret)


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example",
        "https://hooks.example:8443/a/b?c=d",
        "http://10.1.2.3/",
        "https://[2001:db8::1]:8443/",
        "https://xn--hxample-n2a.example/",
    ],
)
def test_addresses_that_can_be_posted_to(load: Loader, url: str) -> None:
    """Whatever names a host, a port and a path."""
    assert load(webhook(url)).alerts.webhooks[0].url.get_secret_value() == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example",
        "ftp://hooks.example/geheim",
        "HTTP://hooks.example/geheim",
        "https:///geheim",
        "https://:443/geheim",
        "https://geheim:geheim@hooks.example/",
        "https://@hooks.example/geheim",
        "https://hooks.example/geheim#geheim",
        "https://hooks.example:99999/geheim",
        "https://hooks.example:0/geheim",
        "https://hooks.example:https/geheim",
        "https://hooks..example/geheim",
        f"https://{'a' * 64}.example/geheim",
        "https://höoks.example/geheim",
        "https://hooks.example/gehéim",
        "https://hooks.example/geheim geheim",
        "https://[::1/geheim",
        "https://a\u2100b.example/geheim",
    ],
)
def test_addresses_that_cannot(load: Loader, url: str) -> None:
    """They are told at the start, and not by a worker that cannot send its first notice."""
    [fault] = load.faults(webhook(url))
    assert fault.startswith("alerts.webhooks.0.url: found a value that is not shown, expected https://HOST")
    assert "geheim" not in fault


@pytest.mark.parametrize(
    ("toml", "variables"),
    [
        (f'[alerts]\nwebhooks = "{ADDRESS}"', {}),
        (f'[alerts]\nwebhooks = ["{ADDRESS}"]', {}),
        (f'[alerts.webhooks]\nurl = "{ADDRESS}"', {}),
        (f'[[alerts.webhooks]]\nurl = ["{ADDRESS}"]\nsecrets = ["geheim-geheim"]', {}),
        (webhook(secret="whsec_geheim!"), {}),
        ("", {"ALERTS__WEBHOOKS": ADDRESS}),
        ("", {"ALERTS__WEBHOOKS": f'[{{"url": "{ADDRESS}", "secrets": ["geheim"]}}]'}),
    ],
)
def test_no_fault_shows_an_address(load: Loader, toml: str, variables: dict[str, str]) -> None:
    """However it is written in the wrong place."""
    faults = load.faults(toml, **variables)
    assert faults
    assert "geheim" not in str(faults)


def test_every_fault_at_once_and_in_words(load: Loader) -> None:
    """What was found, and what would be right."""
    toml = """
[alerts]
allowed_networks = ["10.1.0.1/16"]
[[alerts.webhooks]]
url = "https://hooks.example/"
secrets = []
[[alerts.webhooks]]
secrets = ["whsec_abcd1"]
[[alerts.emails]]
to = ["nobody"]
"""
    assert load.faults(toml) == [
        "alerts.webhooks.0.secrets: found a list, expected at least 1 item",
        "alerts.webhooks.1.url: found nothing, expected a value",
        "alerts.webhooks.1.secrets: found a list, expected after whsec_ base64 of at least 8 bytes, in each",
        (
            "alerts.emails.0.to: found a list, expected plain addresses such as billing@example.com, one in each "
            "text"
        ),
        (
            "alerts.allowed_networks: found a list, expected networks such as 10.1.0.0/16, without a host's bits, or "
            "single addresses"
        ),
    ]


def test_one_address_once(load: Loader) -> None:
    """Of two with accounts of their own only one would be told, as what is owed goes by the address."""
    [fault] = load.faults(webhook() + 'accounts = ["A"]\n' + webhook() + 'accounts = ["B"]\n')
    assert fault == "alerts.webhooks: found a list, expected each url once, with the accounts of all in one"
    named = '[[alerts.webhooks]]\nname = "chat"\nurl = "https://{host}.example/"\nsecrets = ["a secret of ours"]\n'
    [fault] = load.faults(named.format(host="one") + named.format(host="two"))
    assert fault == "alerts.webhooks: found a list, expected each name once"


@pytest.mark.parametrize(
    "address",
    ["ops@[1.2.3.4", "a@x.example,b@x.example", "ops", "ops@", "Ops <ops@x.example>", "o ps@x.example"],
)
def test_addresses_that_cannot_be_written_to(load: Loader, address: str) -> None:
    """What no mail can be made for is told at the start."""
    [fault] = load.faults(
        f'[dashboard.mail]\nhost = "h"\nsender = "a@b.example"\n[[alerts.emails]]\nto = ["{address}"]'
    )
    assert fault.startswith("alerts.emails.0.to: found a list, expected plain addresses")


def test_each_address_is_a_channel_of_its_own(load: Loader) -> None:
    """It hears of the accounts of all its groups; a webhook with a name stays the same when its url changes."""
    toml = """
[dashboard.mail]
host = "mail.example"
sender = "convometer@b.example"
[[alerts.webhooks]]
name = "chat"
url = "https://one.example/"
secrets = ["a secret of ours"]
[[alerts.emails]]
to = ["ops@b.example", "duty@b.example"]
accounts = ["A"]
[[alerts.emails]]
to = ["ops@b.example"]
accounts = ["B"]
[[alerts.emails]]
to = ["all@b.example", "duty@b.example"]
"""
    channels = channels_of(load(toml), SystemClock())
    hears = {
        channel.title: "".join(each for each in "ABC" if channel.wants(notice_of(1, account=each)))
        for channel in channels.values()
    }
    assert hears == {
        "webhook to one.example": "ABC",
        "e-mail to ops@b.example": "AB",
        "e-mail to duty@b.example": "ABC",
        "e-mail to all@b.example": "ABC",
    }
    moved = channels_of(load(toml.replace("one.example", "two.example")), SystemClock())
    assert moved.keys() == channels.keys()
