"""What a fault of ClickHouse means for the caller: try again, or stop and tell a person what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from urllib3.exceptions import HTTPError

_AUTHENTICATION_CODES: Final = frozenset({192, 193, 194, 497, 516})
_MISSING_CODES: Final = frozenset({16, 47, 60, 81})
"""No such column, identifier, table, database: the migrations have not run here."""
_TRANSIENT_CODES: Final = frozenset(
    {
        3,  # UNEXPECTED_END_OF_FILE: the body was cut
        33,  # CANNOT_READ_ALL_DATA: the body was cut
        75,  # CANNOT_WRITE_TO_FILE_DESCRIPTOR: mostly a full disk
        95,  # CANNOT_READ_FROM_SOCKET
        96,  # CANNOT_WRITE_TO_SOCKET
        159,  # TIMEOUT_EXCEEDED
        160,  # TOO_SLOW
        173,  # CANNOT_ALLOCATE_MEMORY
        198,  # DNS_ERROR
        201,  # QUOTA_EXCEEDED
        202,  # TOO_MANY_SIMULTANEOUS_QUERIES
        203,  # NO_FREE_CONNECTION
        209,  # SOCKET_TIMEOUT
        210,  # NETWORK_ERROR
        225,  # NO_ZOOKEEPER
        236,  # ABORTED
        241,  # MEMORY_LIMIT_EXCEEDED
        242,  # TABLE_IS_READ_ONLY: a replica that lost its Keeper
        243,  # NOT_ENOUGH_SPACE
        244,  # UNEXPECTED_ZOOKEEPER_ERROR
        252,  # TOO_MANY_PARTS
        254,  # NO_ACTIVE_REPLICAS
        265,  # NO_AVAILABLE_REPLICA
        279,  # ALL_CONNECTION_TRIES_FAILED
        285,  # TOO_FEW_LIVE_REPLICAS
        286,  # UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE
        319,  # UNKNOWN_STATUS_OF_INSERT
        364,  # RECEIVED_ERROR_TOO_MANY_REQUESTS
        369,  # ALL_REPLICAS_ARE_STALE
        384,  # PART_IS_TEMPORARILY_LOCKED
        394,  # QUERY_WAS_CANCELLED
        416,  # REPLICA_STATUS_CHANGED
        425,  # SYSTEM_ERROR
        439,  # CANNOT_SCHEDULE_TASK
        473,  # DEADLOCK_AVOIDED
        499,  # S3_ERROR
        500,  # AZURE_BLOB_STORAGE_ERROR
        659,  # UNKNOWN_STATUS_OF_TRANSACTION
        677,  # THREAD_WAS_CANCELED
        692,  # TOO_MANY_MUTATIONS
        696,  # ASYNC_LOAD_CANCELED
        700,  # USER_SESSION_LIMIT_EXCEEDED
        735,  # QUERY_WAS_CANCELLED_BY_CLIENT
        745,  # SERVER_OVERLOADED
        749,  # TCP_CONNECTION_LIMIT_REACHED
        762,  # HTTP_CONNECTION_LIMIT_REACHED
        776,  # RESOURCE_LIMIT_EXCEEDED
        777,  # MEMORY_RESERVATION_KILLED
        778,  # MEMORY_RESERVATION_FAILED
        999,  # KEEPER_EXCEPTION
    }
)
_TRANSIENT_STATUS: Final = frozenset({408, 425, 429})
_STATUS: Final = re.compile(r"HTTP status (\d{3})")
_REQUEST: Final = re.compile(r" with url: \S+")
"""The parameters of a request that found no server: long, and of no use to the reader."""
_DETAIL_LENGTH_MAX: Final = 1000


class ClickHouseAway(Exception):
    """ClickHouse did not answer, or cannot just now. The outcome of a write is unknown; try again later."""


class ClickHouseRefused(Exception):
    """ClickHouse answered no, and will again however often it is asked: stop, a person must act."""


class BrokenParts(ClickHouseRefused):
    """Embedded ClickHouse found damaged data on disk and set it aside: totals are missing."""

    def __init__(self, path: str, names: Sequence[str]) -> None:
        """Name the directory of the engine and the parts (``database.table part``)."""
        self.names = tuple(names)
        listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        super().__init__(
            f"embedded ClickHouse in {path}: {len(names)} damaged data part(s) were set aside at start, so totals are "
            f"missing: {listed}. Restore the directory from a backup; without one, move it away: the next start "
            "writes everything that the worker's state still holds into a new one"
        )


def explained(error: Exception, secret: str, where: str = "") -> ClickHouseAway | ClickHouseRefused:
    """Return what to raise for an error of the client library, in words that say what to do.

    Args:
        error: of the client library, or of the network or the disk below it; ``code`` is the ClickHouse error code
            where it carries one.
        secret: the password, which must not appear in the message.
        where: scheme, host and port of the server; empty = embedded.
    """
    text = _without_secret(str(error), secret)
    code: int | None = getattr(error, "code", None)
    if code in _AUTHENTICATION_CODES:
        return ClickHouseRefused(
            f"ClickHouse refuses the login or lacks a grant; check user, password and grants of the address: {text}"
        )
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return ClickHouseRefused(
            f"the certificate of ClickHouse is not trusted; install its CA on this machine: {text}"
        )
    if "EmbeddedServer" in text or "Unable to open the chdb engine" in text:
        return ClickHouseRefused(
            "the embedded ClickHouse cannot be opened: another process has the directory open, or this process "
            f"has another one open; end the other `convometer run`, or use a ClickHouse server: {text}"
        )
    if code in _MISSING_CODES:
        return ClickHouseRefused(
            f"the ClickHouse database has no such table or column; run `convometer migrate`: {text}"
        )
    if _is_transient(error, code, text):
        return _away(error, code, text, secret, where)
    return ClickHouseRefused(f"ClickHouse refused: {text}")


def _away(error: Exception, code: int | None, text: str, secret: str, where: str) -> ClickHouseAway:
    """Return a server's silence, or its answer that it cannot, in words for whoever starts the process."""
    if where and code is None and not _STATUS.search(text):
        reason = _without_secret(str(_innermost(error)), secret) or text
        return ClickHouseAway(f"ClickHouse does not answer at {where} (setting `clickhouse`): {reason}")
    return ClickHouseAway(f"ClickHouse{where and f' at {where}'} cannot do it just now: {text}")


def _innermost(error: BaseException) -> BaseException:
    """Return what began it: the layers above repeat it in many words."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return error


def _is_transient(error: Exception, code: int | None, text: str) -> bool:
    """Tell whether asking again later may help."""
    if code is not None:
        return code in _TRANSIENT_CODES
    if isinstance(error, HTTPError | OSError):
        return True
    status = _STATUS.search(text)
    if status:
        return int(status[1]) >= 500 or int(status[1]) in _TRANSIENT_STATUS
    # Without a code and a status there was no answer: the library uses these two for failures of the transport.
    return type(error).__name__ in {"OperationalError", "StreamFailureError"}


def _without_secret(text: str, secret: str) -> str:
    cleaned = _REQUEST.sub("", text.replace(secret, "***") if secret else text)
    return cleaned if len(cleaned) <= _DETAIL_LENGTH_MAX else cleaned[:_DETAIL_LENGTH_MAX] + " ..."
