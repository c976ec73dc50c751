"""Clock, logs and metric names."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import orjson
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from runtime.clock import ManualClock, SystemClock
from runtime.logging import MASK, LogFormat, configure_logging, mask
from runtime.metrics import NAMES_MAX, Metrics


@pytest.fixture(autouse=True)
def _root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_manual_clock_moves_only_when_told() -> None:
    """Both clocks stand still between advances, and only the wall clock can be set back."""
    clock = ManualClock(1_500)
    assert (clock.now_ms(), clock.now_seconds(), clock.monotonic_seconds()) == (1_500, 1, 0)
    clock.advance(2_500)
    assert (clock.now_ms(), clock.now_seconds(), clock.monotonic_seconds()) == (4_000, 4, 2.5)
    clock.set_ms(0)
    assert (clock.now_ms(), clock.monotonic_seconds()) == (0, 2.5)
    with pytest.raises(ValueError, match="not -1"):
        clock.advance(-1)


def test_system_clock_agrees_with_itself() -> None:
    """Milliseconds and seconds are of the same wall clock, and the monotonic one does not go back."""
    clock = SystemClock()
    before = clock.now_seconds()
    assert before <= clock.now_ms() // 1000 <= clock.now_seconds()
    assert clock.monotonic_seconds() <= clock.monotonic_seconds()


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("call 5511900000001 now", f"call {MASK} now"),
        ("+1234567", f"+{MASK}"),
        ("123456", "123456"),
        ("user BR.10000000000000001", f"user {MASK}"),
        ("KE.ENT.a1b2c3", MASK),
        ("HTTP/1.1 GET", "HTTP/1.1 GET"),
    ],
)
def test_mask(text: str, masked: str) -> None:
    """Phone numbers and business-scoped ids go, ordinary text stays."""
    assert mask(text) == masked


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_no_identity_reaches_the_log(log_format: LogFormat) -> None:
    """Neither arguments, nor extra fields, nor a traceback show a phone number."""
    stream = io.StringIO()
    configure_logging(log_format, stream=stream)
    logger = logging.getLogger("a.logger")
    try:
        raise ValueError("bad user 5511900000001")
    except ValueError:
        logger.exception("user %s", "5511900000001", extra={"user": 5511900000001, "ids": ["BR.1000000001"]})
    text = stream.getvalue()
    assert "5511900000001" not in text
    assert "BR.1000000001" not in text
    assert text.count(MASK) >= 4
    assert "Traceback" in text


def test_json_line() -> None:
    """A JSON line has time, level, logger, message and the fields; our own numbers stay readable."""
    stream = io.StringIO()
    configure_logging("json", stream=stream)
    notice = "30f25ea2abb591eba43fc4140336e61a"
    ours = {"offset": 123456789, "partition": 3, "ok": False, "notice": notice}
    logging.getLogger("a.logger").warning("stuck", extra=ours)
    line = orjson.loads(stream.getvalue())
    assert line.pop("time").endswith("+00:00")
    assert line == {"level": "warning", "logger": "a.logger", "message": "stuck", **ours}


def test_request_logs_are_silent() -> None:
    """The server's access log and the HTTP client's log write nothing."""
    stream = io.StringIO()
    configure_logging("text", stream=stream)
    for name in ("uvicorn.access", "httpx"):
        logging.getLogger(name).info("GET /?hub.verify_token=x")
    assert stream.getvalue() == ""


def test_every_metric_has_the_prefix_and_a_help_text() -> None:
    """All names begin with convometer_, and each is explained."""
    registry = CollectorRegistry()
    Metrics(registry)
    families = list(registry.collect())
    assert len(families) >= 24
    for family in families:
        assert family.name.startswith("convometer_")
        assert family.documentation.endswith(".")


def test_registries_are_independent() -> None:
    """Two processes' worth of metrics can live in one test; the same registry is refused."""
    first, second = CollectorRegistry(), CollectorRegistry()
    Metrics(first).late.inc()
    Metrics(second)
    assert b"convometer_late_total 1.0" in generate_latest(first)
    assert b"convometer_late_total 0.0" in generate_latest(second)
    with pytest.raises(ValueError, match="Duplicated"):
        Metrics(first)


def test_label_sets_are_bounded() -> None:
    """Words from outside cannot grow the label sets without end."""
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    for number in range(NAMES_MAX + 50):
        metrics.count_ignored(f"name-{number}")
    metrics.count_refused("invented")
    metrics.count_dead_letters("invented")
    metrics.count_events("invented", "invented")
    value = registry.get_sample_value
    assert value("convometer_updates_ignored_total", {"name": "other"}) == 50
    assert value("convometer_refused_total", {"reason": "other"}) == 1
    assert value("convometer_dead_letter_total", {"reason": "other"}) == 1
    assert value("convometer_events_total", {"kind": "other", "outcome": "other"}) == 1
