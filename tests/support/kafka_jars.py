"""The jars of one Apache Kafka broker, collected by Maven once per machine and kept in the user's cache.

Owns where the jars lie and how a JVM is called on them. Knows nothing about brokers, ports or data.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

POM: Final = Path(__file__).resolve().parents[2] / "deploy" / "kafka" / "pom.xml"
JAVA_VERSION: Final = 17
MAVEN_TIMEOUT_SECONDS: Final = 600
CLASS_ARCHIVE: Final = "classes.jsa"
"""The class data archive beside the jars: it halves the start of a broker, and may be missing or useless."""

_SMALL_JVM: Final = (
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-XX:-UsePerfData",
    "-Xshare:auto",
    "-Xlog:disable",
)
_LOGGING: Final = (
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
)


class KafkaMissing(Exception):
    """No broker can be started on this machine; the message says what to install or mend."""


@cache
def jars() -> Path:
    """Return the directory with the jars; collect them first if this machine has none for the pinned versions.

    Any number of processes may call this at once: one collects, the others wait for it.
    Raises KafkaMissing where Java or Maven is not there, too old, or cannot fetch what it needs.
    """
    _require_java()
    directory = _cache_directory()
    with locked(directory):
        if not directory.is_dir():
            _collect(directory)
    return directory


def java(
    directory: Path, main_class: str, arguments: Sequence[str], options: Sequence[str] = ()
) -> list[str]:
    """Return the command that runs a class of the jars in a small JVM that starts fast."""
    archive = directory / CLASS_ARCHIVE
    shared = [f"-XX:SharedArchiveFile={archive}"] if archive.exists() else []
    # The archive is only good for the class path it was made with: same jars, same order.
    class_path = os.pathsep.join(str(jar) for jar in sorted(directory.glob("*.jar")))
    return [
        str(shutil.which("java")), *_SMALL_JVM, *_LOGGING, *shared, *options, "-cp", class_path, main_class, *arguments,
    ]  # fmt: skip


def _cache_directory() -> Path:
    """Name the cache by Kafka's version and by the whole file, so that any change of it collects anew."""
    text = POM.read_text()
    version = re.search(r"<kafka\.version>(.+?)</kafka\.version>", text)
    assert version, f"{POM} names no kafka.version"
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "convometer" / f"kafka-{version[1]}-{digest}"


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep other processes from making the same directory."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with directory.with_name(f"{directory.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _collect(directory: Path) -> None:
    """Fill a directory beside the final one, then rename it: what has the final name is whole."""
    maven = shutil.which("mvn")
    if maven is None:
        raise KafkaMissing("Maven is not installed (Debian: apt install maven)")
    with tempfile.TemporaryDirectory(dir=directory.parent) as scratch:
        target = Path(scratch) / "jars"
        command = [
            maven, "--quiet", "--batch-mode", "--file", str(POM), "dependency:copy-dependencies",
            "-DincludeScope=runtime", f"-DoutputDirectory={target}",
        ]  # fmt: skip
        try:
            result = subprocess.run(
                command, check=False, capture_output=True, text=True, timeout=MAVEN_TIMEOUT_SECONDS
            )
        except subprocess.TimeoutExpired as error:
            raise KafkaMissing(f"Maven had not collected Kafka's jars after {error.timeout:.0f} s") from error
        if result.returncode != 0:
            raise KafkaMissing(
                f"Maven could not collect Kafka's jars:\n{(result.stdout + result.stderr)[-2000:]}"
            )
        target.rename(directory)


def _require_java() -> None:
    program = shutil.which("java")
    if program is None:
        raise KafkaMissing(f"Java is not installed (Debian: apt install openjdk-{JAVA_VERSION}-jre-headless)")
    answer = subprocess.run(
        [program, "-version"], check=False, capture_output=True, text=True, timeout=60
    ).stderr
    version = re.search(r'version "(\d+)', answer)
    if version is None or int(version[1]) < JAVA_VERSION:
        raise KafkaMissing(
            f"Kafka needs Java {JAVA_VERSION} or newer; {program} is {answer.splitlines()[:1]}"
        )
