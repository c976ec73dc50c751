"""Webhooks for notices: signed, to addresses that may be connected to, and judged by the answer."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address

import pytest

from schemas.webhook_secrets import key_of
from sinks.notify.channel import DeliveryFailed
from sinks.notify.guard import Address, AddressGuard, AddressRefused
from sinks.notify.texts import subject_of, text_of
from sinks.notify.webhook import WebhookChannel, WebhookTarget, body_of
from tests.support.alerts import notice_of

NOW = 1_795_000_000
SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef").decode()


class Receiver:
    """A server on loopback that answers as it is told, and keeps what came."""

    def __init__(self) -> None:
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body = b""
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.got.append((self.path, headers, content))
                self.send_response(receiver.status)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(receiver.body)))
                self.end_headers()
                self.wfile.write(receiver.body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """End."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Give a receiver."""
    running = Receiver()
    yield running
    running.close()


def channel_to(
    receiver: Receiver, *secrets: str, allowed: tuple[str, ...] = ("127.0.0.1",)
) -> WebhookChannel:
    """Return a channel that posts to the receiver."""
    target = WebhookTarget(
        f"http://localhost:{receiver.port}/hook?key=1", secrets or (SECRET,), timeout_seconds=5
    )
    return WebhookChannel(target, AddressGuard(allowed), lambda: NOW, resolve_host=loopback)


async def loopback(_host: str, _port: int) -> list[Address]:
    """Resolve every name to this machine."""
    return [ip_address("127.0.0.1")]


def failure_of(channel: WebhookChannel) -> DeliveryFailed:
    """Return how a delivery fails."""
    with pytest.raises(DeliveryFailed) as raised:
        asyncio.run(channel.deliver([notice_of(1)]))
    return raised.value


def test_a_receiver_can_check_what_it_gets(receiver: Receiver) -> None:
    """The signature is that of Standard Webhooks, by each secret; the id is in three places, the same every time."""
    channel = channel_to(receiver, SECRET, "an old secret")
    asyncio.run(channel.deliver([notice_of(1)]))
    asyncio.run(channel.deliver([notice_of(1)]))
    [(path, headers, body), again] = receiver.got
    assert path == "/hook?key=1"
    assert again[1:] == (headers, body)
    notice = notice_of(1)
    assert headers["idempotency-key"] == headers["webhook-id"] == notice.id
    signed = f"{notice.id}.{NOW}.".encode() + body
    digests = [
        base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        for key in (b"0123456789abcdef", b"an old secret")
    ]
    assert headers["webhook-signature"] == " ".join(f"v1,{digest}" for digest in digests)
    content = json.loads(body)
    assert content["type"] == "limit.threshold_crossed"
    assert content["timestamp"] == "2026-11-18T11:06:40.100Z"
    assert content["data"]["id"] == notice.id
    assert content["data"]["summary"] == "MAU package at 80.0 %: A, 2026-11"
    assert (content["data"]["used"], content["data"]["limit"], content["data"]["threshold"]) == (8, 10, "80%")


def test_answers_are_judged(receiver: Receiver) -> None:
    """Whatever is not 2xx failed; 410 for good; who asks for patience is heard; a redirect is not followed."""
    channel = channel_to(receiver)
    for status, headers, is_final, seconds in (
        (500, {}, False, 0.0),
        (410, {}, True, 0.0),
        (429, {"Retry-After": "120"}, False, 120.0),
        (503, {"Retry-After": "Wed, 18 Nov 2026 11:07:40 GMT"}, False, 60.0),
        (503, {"Retry-After": "9999999"}, False, 3600.0),
        (503, {"Retry-After": "soon"}, False, 0.0),
        (503, {"Retry-After": "1 Jan 2020 00:00:00 +99999999999999999"}, False, 0.0),
        (302, {"Location": f"http://127.0.0.1:{receiver.port}/elsewhere"}, False, 0.0),
    ):
        receiver.status, receiver.headers = status, headers
        before = len(receiver.got)
        failure = failure_of(channel)
        assert (failure.is_final, failure.retry_after_seconds) == (is_final, seconds), status
        assert f"HTTP {status}" in str(failure)
        assert len(receiver.got) == before + 1
    receiver.status, receiver.headers = 204, {}
    asyncio.run(channel.deliver([notice_of(1)]))


def test_a_long_answer_is_not_read_to_its_end(receiver: Receiver) -> None:
    """What the other side says is told in short."""
    receiver.status, receiver.body = 400, b"no " * 1_000_000
    assert len(str(failure_of(channel_to(receiver)))) < 300


def test_what_a_receiver_repeats_of_its_address_is_not_told(receiver: Receiver) -> None:
    """Addresses of chat services are secrets, their error pages name them, and failures are logged."""
    receiver.status, receiver.body = 404, b"Cannot POST /services/T0ABCDEF/geheimgeheim?key=geheim-key"
    url = f"http://127.0.0.1:{receiver.port}/services/T0ABCDEF/geheimgeheim?key=geheim-key"
    channel = WebhookChannel(WebhookTarget(url, (SECRET,)), AddressGuard(["127.0.0.1"]), lambda: NOW)
    text = str(failure_of(channel))
    assert text.startswith("HTTP 404: Cannot POST")
    assert "geheim" not in text
    assert "T0ABCDEF" not in text
    receiver.body = b"no such token: geheim-key"
    assert str(failure_of(channel)) == "HTTP 404: no such token: ..."


SLACK = "/services/T0123456/B0123456/AbCdEfGhIjKlMnOpQrStUvWx"


def said_of(receiver: Receiver, body: bytes, path: str) -> str:
    """Return what a failure tells of a receiver's answer."""
    receiver.status, receiver.body = 404, body
    target = WebhookTarget(f"http://127.0.0.1:{receiver.port}{path}", (SECRET,))
    return str(failure_of(WebhookChannel(target, AddressGuard(["127.0.0.1"]), lambda: NOW)))


@pytest.mark.parametrize("before", [0, 100, 150, 180, 195, 199, 4000, 4060, 4090])
def test_an_address_that_an_answer_is_cut_in_is_not_told(receiver: Receiver, before: int) -> None:
    """Wherever what is shown, or what is read, comes to its end."""
    words = b"x" * before if before < 200 else b"y" + b" " * (before - 1)
    text = said_of(receiver, words + SLACK.encode() + b" is not known" + b"." * 9000, SLACK)
    assert text[: len("HTTP 404: ")] == "HTTP 404: "
    assert not any(part[:3] in text for part in SLACK.split("/") if part)
    assert not text.endswith(("T", "B", "A", "Ab"))


@pytest.mark.parametrize(
    ("path", "repeated"),
    [
        ("/in?key=c2VjcmV0K2tleQ%3D%3D", "c2VjcmV0K2tleQ=="),
        ("/in?key=c2VjcmV0K2tleQ%3D%3D", "c2VjcmV0K2tleQ%3d%3d"),
        ("/in?key=c2VjcmV0K2tleQ==", "c2VjcmV0K2tleQ%3D%3D"),
        ("/in?key=geheim+geheim", "geheim geheim"),
        ("/in?key=geheim%2Bgeheim", "geheim+geheim"),
        ("/in?key=geheim%20geheim", "geheim+geheim"),
        ("/in?key=geheim%20%0Ageheim", "geheim \n geheim"),
        ("/geheim%2Fgeheim/in", "geheim/geheim"),
        ("/in?key=g%C3%A4heim-geheim", "gäheim-geheim"),
    ],
)
def test_an_address_that_is_repeated_decoded_is_not_told(
    receiver: Receiver, path: str, repeated: str
) -> None:
    """As a receiver's framework hands it to whoever writes its error pages."""
    text = said_of(receiver, f"no key {repeated} is known".encode(), path)
    assert text == "HTTP 404: no key ... is known"


def test_a_letter_that_is_cut_hides_no_secret_before_it(receiver: Receiver) -> None:
    """What is read ends within a letter of two bytes, which is within a secret."""
    body = b" " * 4090 + "xhhhhä".encode() + b"." * 100
    assert said_of(receiver, body, "/in?key=hhhh%C3%A4hhh") == "HTTP 404: x..."


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::10.0.0.1",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::8.8.8.8",
        "2002:7f00:1::1",
        "2002:a00:1::",
        "2001:0:a00:1::1",
        "fe80::1",
        "fec0::1",
        "fc00::1",
        "fd12:3456::1",
        "ff02::1",
        "2001:db8::1",
    ],
)
def test_addresses_inside_are_not_connected_to(address: str) -> None:
    """However they are written."""
    assert not AddressGuard().may_connect(ip_address(address))


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]
)
def test_public_addresses_are(address: str) -> None:
    """Otherwise nobody could be notified."""
    assert AddressGuard().may_connect(ip_address(address))


def test_a_network_of_the_settings_is_allowed_and_no_other() -> None:
    """Somebody's own chat server may stand inside."""
    guard = AddressGuard(["10.1.0.0/16", "fd00::/8"])
    assert guard.may_connect(ip_address("10.1.2.3"))
    assert guard.may_connect(ip_address("fd00::5"))
    assert not guard.may_connect(ip_address("10.2.0.1"))
    assert not guard.may_connect(ip_address("127.0.0.1"))


def test_of_an_address_that_is_translated_the_one_inside_is_judged() -> None:
    """A host without IPv4 reaches by 64:ff9b::/96 what one with it would; to list that network opens nothing inside."""
    translated = AddressGuard(["64:ff9b::/96", "64:ff9b:1::/48"])
    for network in ("64:ff9b::", "64:ff9b:1::"):
        assert translated.may_connect(ip_address(f"{network}8.8.8.8"))
        # Unencrypted it would go through the Internet.
        assert not translated.is_listed(ip_address(f"{network}8.8.8.8"))
        for inside in ("10.1.2.3", "127.0.0.1", "169.254.169.254"):
            assert not translated.may_connect(ip_address(f"{network}{inside}"))
            assert not translated.is_listed(ip_address(f"{network}{inside}"))
    listed = AddressGuard(["10.1.0.0/16"])
    for way in ("::ffff:", "64:ff9b::"):
        assert listed.is_listed(ip_address(f"{way}10.1.2.3"))
        assert not listed.may_connect(ip_address(f"{way}10.2.0.1"))
    assert not listed.may_connect(ip_address("64:ff9b:1::10.1.2.3"))


def test_nothing_is_sent_inside_unless_allowed(receiver: Receiver) -> None:
    """The name is looked up once, and what it says is judged: there is no second look that could say another thing."""
    failure = failure_of(channel_to(receiver, allowed=()))
    assert "no address" in str(failure)
    assert isinstance(failure.__cause__, AddressRefused)
    target = WebhookTarget(f"http://127.0.0.1:{receiver.port}/", (SECRET,))
    assert "no address" in str(failure_of(WebhookChannel(target, AddressGuard(), lambda: NOW)))
    assert not receiver.got


def test_plain_http_goes_to_allowed_networks_only() -> None:
    """A notice is not sent unencrypted through the Internet."""

    async def public(_host: str, _port: int) -> list[Address]:
        return [ip_address("8.8.8.8")]

    target = WebhookTarget("http://hooks.example/", (SECRET,))
    channel = WebhookChannel(target, AddressGuard(), lambda: NOW, resolve_host=public)
    assert "no address" in str(failure_of(channel))


def test_a_name_that_nobody_knows_and_a_port_that_nobody_listens_on() -> None:
    """Both are failures that may pass."""

    async def nowhere(_host: str, _port: int) -> list[Address]:
        raise OSError("no such name")

    target = WebhookTarget("https://hooks.example/", (SECRET,), timeout_seconds=2)
    unknown = failure_of(WebhookChannel(target, AddressGuard(), lambda: NOW, resolve_host=nowhere))
    closed = WebhookTarget("http://localhost:1/", (SECRET,), timeout_seconds=2)
    refused = failure_of(
        WebhookChannel(closed, AddressGuard(["127.0.0.1"]), lambda: NOW, resolve_host=loopback)
    )
    assert not unknown.is_final
    assert not refused.is_final


def test_an_answer_that_never_ends_is_waited_for_as_long_as_one_that_never_begins() -> None:
    """A byte now and then does not keep an attempt alive."""

    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 4000\r\n\r\n")
        with suppress(ConnectionError):
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.05)

    async def over() -> float:
        server = await asyncio.start_server(drip, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        target = WebhookTarget(f"http://127.0.0.1:{port}/", (SECRET,), timeout_seconds=0.5)
        begun = asyncio.get_running_loop().time()
        with pytest.raises(DeliveryFailed, match="no answer"):
            await WebhookChannel(target, AddressGuard(["127.0.0.1"]), lambda: NOW).deliver([notice_of(1)])
        server.close()
        return asyncio.get_running_loop().time() - begun

    # The whole answer would take 200 seconds.
    assert asyncio.run(over()) < 20


def test_the_title_tells_where_to_and_no_secret() -> None:
    """Addresses of chat services are secrets; their hosts are not."""
    target = WebhookTarget("https://hooks.example/services/T0/SECRET?key=SECRET", (SECRET,))
    assert WebhookChannel(target, AddressGuard(), lambda: NOW).title == "webhook to hooks.example"


def test_only_notices_about_its_accounts_that_are_not_past() -> None:
    """A team gets what is its own."""
    target = WebhookTarget("https://hooks.example/", (SECRET,), ("A", "B"))
    channel = WebhookChannel(target, AddressGuard(), lambda: NOW)
    assert channel.wants(notice_of(1))
    assert not channel.wants(notice_of(1, account="C"))
    assert not channel.wants(notice_of(1, is_past=True))


def test_a_secret_that_is_no_base64_is_refused() -> None:
    """It would sign with another key than the receiver's."""
    with pytest.raises(ValueError, match="base64"):
        key_of("whsec_!!!")


def test_the_words_of_a_notice() -> None:
    """The subject says what matters first, the text all of it."""
    crossed, recovered = notice_of(1), notice_of(2)
    assert subject_of(recovered) == "MAU package back below 80%: A, 2026-11"
    text = text_of(crossed)
    assert "has reached 80%" in text
    assert "Used:       8 of 10 (80.0 %)" in text
    assert crossed.id in text
    assert json.loads(body_of(recovered))["type"] == "limit.threshold_recovered"
