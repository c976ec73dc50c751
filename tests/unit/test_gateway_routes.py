"""POST /events, the probes, and what no route takes."""

from __future__ import annotations

import pytest

from runtime.settings import Settings
from tests.unit.gateway_fakes import TOKEN, Gateway, body_of, error_code, gateway_settings


def test_events_with_a_token_are_durable() -> None:
    """A bearer token is enough for canonical events; the promise is that of webhooks."""
    gateway = Gateway()
    response = gateway.request("POST", "/events", body_of(2, bad=1), {"Authorization": f"Bearer {TOKEN}"})
    assert response.json() == {"status": "ok", "accepted": 2, "refused": 1, "ignored": 0}
    assert (len(gateway.log.events()), len(gateway.log.dead_letters())) == (2, 1)
    assert gateway.sample("gateway_requests_total", route="/events", status="200") == 1


@pytest.mark.parametrize(
    "header",
    [
        None,
        b"",
        b"Bearer",
        b"Bearer ",
        b"Bearer wrong-token",
        b"Basic a-bearer-token",
        b"a-bearer-token",
        b"Bearer \xff",
    ],
)
def test_events_without_the_token(header: bytes | None) -> None:
    """A missing or wrong token is 401, and nothing is kept."""
    gateway = Gateway()
    headers = {} if header is None else {b"authorization": header}
    response = gateway.request("POST", "/events", body_of(1), headers)
    assert (response.status_code, error_code(response)) == (401, "token_invalid")
    assert response.headers["www-authenticate"] == "Bearer"
    assert gateway.log.records == []


def test_events_without_configured_tokens_name_the_setting() -> None:
    """With no token configured nothing is taken, and the hint says what to set."""
    gateway = Gateway(Settings())
    response = gateway.request("POST", "/events", body_of(1), {"Authorization": "Bearer "})
    assert response.status_code == 401
    assert "gateway.events_tokens" in response.json()["error"]["hint"]


def test_events_tokens_rotate() -> None:
    """All configured tokens are valid at once."""
    gateway = Gateway(Settings(gateway=gateway_settings(events_tokens=["the-old-token", "the-new-token"])))
    for token in ("the-old-token", "the-new-token"):
        assert gateway.request("POST", "/events", body_of(1), {"Authorization": f"bearer {token}"}).is_success


def test_unreadable_events_are_400() -> None:
    """A body that is not JSON is 400 here too."""
    response = Gateway().request("POST", "/events", b"{", {"Authorization": f"Bearer {TOKEN}"})
    assert (response.status_code, error_code(response)) == (400, "body_unreadable")


def test_alive() -> None:
    """The liveness probe needs no log."""
    assert Gateway().request("GET", "/healthz").json() == {"status": "ok"}


def test_ready_and_not_ready() -> None:
    """Readiness lists every component, and is 503 with the cause as soon as one is not ready."""
    causes = {"log": "", "worker": ""}
    gateway = Gateway(readiness=lambda: causes)
    response = gateway.request("GET", "/readyz")
    assert response.status_code == 200
    assert response.json()["components"]["log"] == {"ready": True, "cause": ""}
    causes["worker"] = "partition 3 is being restored"
    response = gateway.request("GET", "/readyz")
    assert (response.status_code, response.json()["error"]["code"]) == (503, "not_ready")
    assert response.json()["components"] == {
        "log": {"ready": True, "cause": ""},
        "worker": {"ready": False, "cause": "partition 3 is being restored"},
    }


def test_metrics_are_exposed() -> None:
    """Prometheus finds what was counted, with help texts."""
    gateway = Gateway()
    gateway.post(body_of(1))
    response = gateway.request("GET", "/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    assert 'convometer_events_total{kind="sent",outcome="accepted"} 1.0' in response.text
    assert "# HELP convometer_append_seconds Seconds" in response.text


@pytest.mark.parametrize("path", ["/", "/webhooks", "/events/1", "/5511900000001", "/webhooks/meta/"])
def test_unknown_path(path: str) -> None:
    """An unknown path is 404 in the one error shape, and does not become a metric label."""
    gateway = Gateway()
    response = gateway.request("GET", path)
    assert (response.status_code, error_code(response)) == (404, "not_found")
    assert gateway.sample("gateway_requests_total", route="other", status="404") == 1


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/webhooks/meta"), ("GET", "/events"), ("DELETE", "/healthz"), ("POST", "/metrics")],
)
def test_wrong_method(method: str, path: str) -> None:
    """A wrong method is 405 with the methods that there are."""
    gateway = Gateway()
    response = gateway.request(method, path)
    assert (response.status_code, error_code(response)) == (405, "method_not_allowed")
    assert response.headers["allow"]
    assert gateway.sample("gateway_requests_total", route="other", status="405") == 1
