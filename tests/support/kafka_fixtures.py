"""Kafka for any test: fixtures that start real brokers, and a loud word where none can be started.

Owns the `kafka` marker and when brokers are started and stopped. How is `tests.support.kafka_broker`'s business.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from typing import Final

import pytest

from tests.support.kafka_broker import KafkaCluster, KafkaMissing, jars

REQUIRE_KAFKA: Final = "CONVOMETER_TEST_REQUIRE_KAFKA"
NOT_RUN: Final = "Kafka tests were NOT run"
_FIXTURES: Final = frozenset({"kafka", "kafka_three"})


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Collect what the Kafka client leaves behind now, where its complaints do no harm.

    Python 3.11 before 3.11.8 fails to parse anything while a finalizer logs a traceback (python/cpython#106905), and
    a fenced producer's futures are logged by their finalizers.
    """
    if _FIXTURES & set(getattr(item, "fixturenames", ())):
        gc.collect()


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """Return one broker that all tests of this process share: use names of your own, and leave it running."""
    _require_kafka()
    with KafkaCluster.start(tmp_path_factory.mktemp("kafka")) as cluster:
        yield cluster


@pytest.fixture
def kafka_three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """Return three brokers of this test's own, to be killed and suspended at will."""
    _require_kafka()
    with KafkaCluster.start(tmp_path_factory.mktemp("kafka_three"), 3) as cluster:
        yield cluster


def _require_kafka() -> None:
    """Skip where no broker can be started, or fail if this machine is meant to be able to."""
    try:
        jars()
    except KafkaMissing as error:
        if os.environ.get(REQUIRE_KAFKA) == "1":
            pytest.fail(f"{REQUIRE_KAFKA}=1, but {error}", pytrace=False)
        pytest.skip(f"{NOT_RUN}: {error}")


def pytest_configure(config: pytest.Config) -> None:
    """Announce the marker."""
    config.addinivalue_line("markers", "kafka: needs Java and Maven; starts real Kafka brokers")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that uses a broker, before `-m` selects."""
    for item in items:
        if _FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("kafka")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line that tests were left out, however many, and why."""
    reasons = {
        outcome.longrepr[2].removeprefix("Skipped: ")
        for outcome in terminalreporter.stats.get("skipped", [])
        if isinstance(outcome.longrepr, tuple | list) and NOT_RUN in str(outcome.longrepr[2])
    }
    for reason in sorted(reasons):
        terminalreporter.write_line(reason, red=True, bold=True)
