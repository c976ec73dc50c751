"""POST and GET /webhooks/meta: every status code, and what each promises."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time

import pytest

from gateway.port import LogUnavailable
from runtime.settings import Settings
from tests.unit.gateway_fakes import (
    NOW_MS,
    SECRET,
    VERIFY_TOKEN,
    Gateway,
    MemoryLog,
    account,
    body_of,
    error_code,
    gateway_settings,
    sign,
)

SECRET_A, SECRET_B = "secret-of-account-a", "secret-of-account-b"


def two_accounts(*shared: str) -> Gateway:
    """Return a gateway whose accounts 9001 and 9002 have a secret each."""
    accounts = {"9001": account(SECRET_A), "9002": account(SECRET_B)}
    return Gateway(Settings(gateway=gateway_settings(app_secrets=shared), accounts=accounts))


def subscription(**changes: str) -> dict[str, str]:
    """Return the query of a provider's verification."""
    return {
        "hub.mode": "subscribe",
        "hub.verify_token": VERIFY_TOKEN,
        "hub.challenge": "1158201444",
    } | changes


def test_verification_echoes_the_challenge() -> None:
    """The right token gets the challenge back as plain text, and nothing else."""
    response = Gateway().request("GET", "/webhooks/meta", params=subscription())
    assert (response.status_code, response.text) == (200, "1158201444")
    assert response.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(
    "changes", [{"hub.verify_token": "wrong-token"}, {"hub.verify_token": ""}, {"hub.mode": "unsubscribe"}]
)
def test_verification_refuses(changes: dict[str, str]) -> None:
    """A wrong token or mode gets 403 and no challenge."""
    response = Gateway().request("GET", "/webhooks/meta", params=subscription(**changes))
    assert (response.status_code, error_code(response)) == (403, "verification_failed")
    assert "1158201444" not in response.text


def test_verification_without_a_token_names_the_setting() -> None:
    """With no token configured even an empty token is refused, and the hint says what to set."""
    gateway = Gateway(Settings(gateway=gateway_settings(verify_token=None)))
    response = gateway.request("GET", "/webhooks/meta", params=subscription(**{"hub.verify_token": ""}))
    assert response.status_code == 403
    assert "gateway.verify_token" in response.json()["error"]["hint"]


def test_signed_body_is_durable_before_200() -> None:
    """200 tells how many updates were taken, and they are in the log, stamped with the receiver's clock."""
    gateway = Gateway()
    response = gateway.post(body_of(3))
    assert response.status_code == 200
    assert response.json() == {"status": "ok", "accepted": 3, "refused": 0, "ignored": 0}
    assert sorted(event.message_id for event in gateway.log.events()) == ["wamid.0", "wamid.1", "wamid.2"]
    assert {event.received_at for event in gateway.log.events()} == {NOW_MS}
    assert gateway.sample("events_total", kind="sent", outcome="accepted") == 3
    assert gateway.sample("account_events_total", account="9001") == 3
    assert gateway.sample("gateway_requests_total", route="/webhooks/meta", status="200") == 1


def test_one_bad_update_among_a_thousand() -> None:
    """One bad update does not spoil its body: 200, 999 events and 1 dead letter are durable."""
    gateway = Gateway()
    response = gateway.post(body_of(999, bad=1))
    assert response.json() == {"status": "ok", "accepted": 999, "refused": 1, "ignored": 0}
    assert len({event.message_id for event in gateway.log.events()}) == 999
    [letter] = gateway.log.dead_letters()
    assert (letter.reason, letter.account, letter.source) == ("no_message_id", "9001", "gateway")
    assert letter.payload == b'{"user":"5511900000001"}'
    assert gateway.sample("dead_letter_total", reason="no_message_id") == 1
    assert gateway.sample("refused_total", reason="no_message_id") == 1


def test_ignored_updates_are_counted_by_name() -> None:
    """A body of known but unmetered updates is 200, writes nothing, and is counted."""
    gateway = Gateway()
    response = gateway.post(b'{"entry":[{"id":"9001","updates":[{"ignored":"account_update"}]}]}')
    assert response.json()["ignored"] == 1
    assert gateway.log.records == []
    assert gateway.sample("updates_ignored_total", name="account_update") == 1


def test_repeated_body_is_taken_again() -> None:
    """A repeat gets 200 as well: it is the worker that counts once."""
    gateway = Gateway()
    assert [gateway.post(body_of(2)).status_code for _ in range(2)] == [200, 200]
    assert len(gateway.log.events()) == 4


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "signature_missing"),
        ("", "signature_missing"),
        ("sha1=" + "0" * 64, "signature_malformed"),
        ("sha256=" + "0" * 63, "signature_malformed"),
        ("sha256=" + "g" * 64, "signature_malformed"),
        ("0" * 64, "signature_malformed"),
        ("sha256=" + "0" * 64, "signature_wrong"),
    ],
)
def test_bad_signature(header: str | None, code: str, caplog: pytest.LogCaptureFixture) -> None:
    """Unsigned input is 401: neither kept nor logged, but counted."""
    caplog.set_level(logging.DEBUG)
    gateway = Gateway()
    headers = {} if header is None else {"X-Hub-Signature-256": header}
    response = gateway.request("POST", "/webhooks/meta", body_of(1, bad=1), headers)
    assert (response.status_code, error_code(response)) == (401, code)
    assert gateway.log.records == []
    assert not [record for record in caplog.records if record.name.startswith("gateway")]
    assert gateway.sample("gateway_signature_failures_total") == 1
    assert gateway.sample("gateway_requests_total", route="/webhooks/meta", status="401") == 1


def test_signature_is_over_the_raw_bytes() -> None:
    """The same JSON with one space more has another signature."""
    body = body_of(1)
    response = Gateway().request("POST", "/webhooks/meta", body + b" ", sign(body))
    assert response.status_code == 401


def test_upper_case_signature_is_taken() -> None:
    """Hexadecimal digits have no case."""
    body = body_of(1)
    digits = sign(body)["X-Hub-Signature-256"].removeprefix("sha256=").upper()
    response = Gateway().request("POST", "/webhooks/meta", body, {"X-Hub-Signature-256": "sha256=" + digits})
    assert response.status_code == 200


def test_unsigned_input_is_not_parsed() -> None:
    """A body that is not even JSON is refused for its signature, as nobody looked inside."""
    response = Gateway().request(
        "POST", "/webhooks/meta", b"\xff{", {"X-Hub-Signature-256": "sha256=" + "0" * 64}
    )
    assert (response.status_code, error_code(response)) == (401, "signature_wrong")


def test_signatures_and_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every comparison of a signature or token goes through hmac.compare_digest."""
    compared: list[tuple[bytes, bytes]] = []

    def spy(left: bytes, right: bytes) -> bool:
        compared.append((bytes(left), bytes(right)))
        return False

    monkeypatch.setattr(hmac, "compare_digest", spy)
    gateway = Gateway()
    body = body_of(1)
    assert gateway.post(body).status_code == 401
    assert gateway.request("GET", "/webhooks/meta", params=subscription()).status_code == 403
    bearer = {"Authorization": "Bearer a-bearer-token"}
    assert gateway.request("POST", "/events", body, bearer).status_code == 401
    signature = bytes.fromhex(sign(body)["X-Hub-Signature-256"][7:])
    assert compared == [
        (signature, signature),
        (VERIFY_TOKEN.encode(), VERIFY_TOKEN.encode()),
        (b"a-bearer-token", b"a-bearer-token"),
    ]


def test_without_any_secret_everything_is_refused() -> None:
    """An unconfigured gateway takes nothing, not even a body signed with an empty key, and says what to set."""
    gateway = Gateway(Settings())
    response = gateway.post(body_of(1), secret="")
    assert (response.status_code, error_code(response)) == (401, "no_app_secret")
    assert "gateway.app_secrets" in response.json()["error"]["hint"]
    assert gateway.log.records == []


def test_secrets_rotate() -> None:
    """While two secrets are configured both sign; a third one does not."""
    gateway = Gateway(Settings(gateway=gateway_settings(app_secrets=["the-old-secret", "the-new-secret"])))
    statuses = [
        gateway.post(body_of(1), secret).status_code
        for secret in ("the-old-secret", "the-new-secret", SECRET)
    ]
    assert statuses == [200, 200, 401]


def test_account_secret_signs_for_its_account() -> None:
    """An account's own secret is enough for that account."""
    gateway = two_accounts()
    assert gateway.post(body_of(1, accounts=("9002",)), SECRET_B).status_code == 200


@pytest.mark.parametrize("accounts", [("9002",), ("9001", "9002"), ("9999",)])
def test_account_secret_cannot_sign_for_another(accounts: tuple[str, ...]) -> None:
    """The secret of account A is 403 for any body that names another account, and nothing of it is kept."""
    gateway = two_accounts()
    response = gateway.post(body_of(1, accounts=accounts), SECRET_A)
    assert (response.status_code, error_code(response)) == (403, "wrong_account")
    assert gateway.log.records == []


@pytest.mark.parametrize("update", [b'{"ignored":"account_update"}', b'{"user":"1"}'])
def test_account_secret_cannot_bring_another_accounts_refusals(update: bytes) -> None:
    """Ownership covers ignored and refused updates too, which could fill another account's dead letter."""
    gateway = two_accounts()
    body = b'{"entry":[{"id":"9001","updates":[]},{"id":"9002","updates":[' + update + b"]}]}"
    assert gateway.post(body, SECRET_A).status_code == 403
    assert gateway.log.records == []


def test_shared_secret_signs_for_configured_accounts_too() -> None:
    """A secret in the shared list signs for all accounts, also those with secrets of their own."""
    gateway = two_accounts(SECRET)
    assert gateway.post(body_of(1, accounts=("9001", "9002", "9003"))).status_code == 200


def test_secret_of_several_accounts() -> None:
    """One app of several accounts: its secret signs a body that names all of them."""
    accounts = {"9001": account(SECRET_A), "9002": account(SECRET_A)}
    gateway = Gateway(Settings(gateway=gateway_settings(app_secrets=[]), accounts=accounts))
    assert gateway.post(body_of(1, accounts=("9001", "9002")), SECRET_A).status_code == 200
    assert gateway.post(body_of(1, accounts=("9001", "9003")), SECRET_A).status_code == 403


def test_unreadable_body_is_400_once_authentic(caplog: pytest.LogCaptureFixture) -> None:
    """A signed body that is not JSON is 400, and the log does not quote it."""
    gateway = Gateway()
    response = gateway.post(b"5511900000001 is no JSON")
    assert (response.status_code, error_code(response)) == (400, "body_unreadable")
    assert "5511900000001" not in caplog.text
    assert "5511900000001" not in response.text


def test_too_many_updates_is_400() -> None:
    """A body with more than the limit is refused as a whole; exactly the limit is taken."""
    gateway = Gateway(Settings(gateway=gateway_settings(updates_per_body_max=10)))
    response = gateway.post(body_of(10, bad=1))
    assert (response.status_code, error_code(response)) == (400, "too_many_updates")
    assert gateway.log.records == []
    assert gateway.post(body_of(9, bad=1)).status_code == 200


def test_declared_size_is_refused_unread() -> None:
    """A Content-Length beyond the limit is 413, and the connection ends, as the body is not read."""
    gateway = Gateway(Settings(gateway=gateway_settings(body_size_bytes_max=1024)))
    response = gateway.post(b"x" * 1025)
    assert (response.status_code, error_code(response)) == (413, "body_too_large")
    assert response.headers["connection"] == "close"


def test_body_at_the_limit_is_read() -> None:
    """Exactly the largest size is not too large."""
    gateway = Gateway(Settings(gateway=gateway_settings(body_size_bytes_max=1024)))
    body = body_of(1)
    assert gateway.post(body + b" " * (1024 - len(body))).status_code == 200


@pytest.mark.parametrize("error", [LogUnavailable("down"), OSError("disk full"), RuntimeError("any")])
def test_failed_append_is_503(error: Exception) -> None:
    """If the log does not take it, the sender is told to repeat, and nothing counts as accepted."""
    gateway = Gateway(log=MemoryLog(error=error))
    response = gateway.post(body_of(2, bad=1))
    assert (response.status_code, error_code(response)) == (503, "log_unavailable")
    assert int(response.headers["retry-after"]) > 0
    assert gateway.sample("events_total", kind="sent", outcome="accepted") == 0
    assert gateway.sample("dead_letter_total", reason="no_message_id") == 0
    assert gateway.sample("append_errors_total") > 0
    gateway.log.error = None
    assert gateway.post(body_of(2, bad=1)).status_code == 200


def test_events_without_their_dead_letter_are_not_promised() -> None:
    """200 needs both: if only the dead letter fails, the answer is 503."""

    class NoDeadLetters(MemoryLog):
        async def append_record(self, topic: str, partition: int, key: bytes | None, value: bytes) -> int:
            if topic == "dead-letter":
                raise OSError("disk full")
            return await super().append_record(topic, partition, key, value)

    assert Gateway(log=NoDeadLetters()).post(body_of(1, bad=1)).status_code == 503


def test_log_that_does_not_answer_is_503_in_time() -> None:
    """A hanging log costs the sender the append timeout, not for ever."""
    settings = Settings(gateway=gateway_settings(append_timeout_seconds=0.1))
    gateway = Gateway(settings, MemoryLog(gate=asyncio.Event()))
    started = time.monotonic()
    assert gateway.post(body_of(1)).status_code == 503
    assert time.monotonic() - started < 5


def test_unknown_accounts_are_metered_by_default() -> None:
    """An account needs no configuration."""
    gateway = two_accounts(SECRET)
    gateway.post(body_of(1, accounts=("9999",)))
    assert [event.account for event in gateway.log.events()] == ["9999"]


def test_unknown_accounts_can_be_refused() -> None:
    """With unknown_accounts = refuse their events become dead letters, and known accounts' events pass."""
    settings = Settings(gateway=gateway_settings(), accounts={"9001": account()}, unknown_accounts="refuse")
    gateway = Gateway(settings)
    response = gateway.post(body_of(2, accounts=("9001", "9999")))
    assert response.json() == {"status": "ok", "accepted": 2, "refused": 2, "ignored": 0}
    assert {event.account for event in gateway.log.events()} == {"9001"}
    assert {(letter.reason, letter.account) for letter in gateway.log.dead_letters()} == {
        ("unknown_account", "9999")
    }
    assert b'"message_id":"wamid.0"' in gateway.log.dead_letters()[0].payload


def test_fault_of_ours_is_500_in_the_same_shape() -> None:
    """A bug answers in the one error shape, without its text, and is counted."""
    gateway = Gateway()
    response = gateway.post(b'{"entry":[{"id":"9001"}]}')  # the fake parser raises KeyError
    assert (response.status_code, error_code(response)) == (500, "internal_error")
    assert gateway.sample("gateway_requests_total", route="/webhooks/meta", status="500") == 1
