"""Finds a user's state among the partitions of this process, to tell their windows.

Owns following references from name to name. It reads what is committed, in records of its own: nothing that the
partitions work with is touched.
"""

from __future__ import annotations

from collections.abc import Mapping

from metering.storage import UserRecord, head_key, user_prefix
from metering.windows import unknown, windows_of
from schemas.codec import partition_of
from schemas.user_windows import Elsewhere, UserWindows, WindowsAsked
from streams.processor import Processor
from streams.store import PartitionStore, Table

_HOPS_MAX = 100
"""References lead to ever earlier names, so that following them ends; this is for a damaged store."""


def find_windows(
    processors: Mapping[int, Processor], partition_count: int, asked: WindowsAsked
) -> UserWindows | Elsewhere:
    """Return a user's windows, or where to go on.

    Args:
        processors: of the partitions that are open here.
        partition_count: of the installation.
        asked: whose windows.
    """
    key = asked.key or asked.user
    for _ in range(_HOPS_MAX):
        partition = partition_of(asked.account, key, partition_count)
        processor = processors.get(partition)
        if processor is None:
            return Elsewhere(partition, key)
        record = _record(processor.store, asked.account, key)
        if record.alias is None:
            # An account that was never counted has no record to open, and no user either.
            is_counted = asked.account in processor.accounts
            return (
                windows_of(record.user, processor.rules(asked.account), asked)
                if is_counted
                else unknown(asked)
            )
        key = record.alias.key
    raise AssertionError("references between names form a circle")


def _record(store: PartitionStore, account: str, key: str) -> UserRecord:
    prefix = user_prefix(account, key)
    return UserRecord(
        prefix, store.get(Table.USERS, head_key(prefix)), lambda keys: store.get_many(Table.USERS, keys)
    )
