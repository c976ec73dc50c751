"""Slows down whoever guesses passwords, by name and by address. Pure: the time is an argument."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Final

WAIT_MAX_SECONDS: Final = 900
_FORGET_SECONDS: Final = 24 * 3600
_ENTRIES_MAX: Final = 10_000
_HOST_BITS: Final = 64
"""Of an IPv6 address: one customer has them all."""


@dataclass(slots=True)
class _Failures:
    count: int
    last_at: float


class Throttle:
    """Counts failed sign-ins. After some of them each further one doubles the wait.

    It does not matter whether the name exists, nor whether the next password is right: whoever waits is told nothing.
    """

    def __init__(self, failures_max: int, entries_max: int = _ENTRIES_MAX) -> None:
        """Take how many failures are free, and how many names and addresses are remembered."""
        self._failures_max = failures_max
        self._entries_max = entries_max
        self._entries: OrderedDict[str, _Failures] = OrderedDict()

    def wait_seconds(self, name: str, address: str, now_seconds: float) -> float:
        """Return how long this name or address has to wait; 0 = not at all."""
        return max(self._wait(key, now_seconds) for key in _keys(name, address))

    def _wait(self, key: str, now_seconds: float) -> float:
        known = self._entries.get(key)
        if known is None or known.count < self._failures_max:
            return 0.0
        # A clock that was turned back must not make anybody wait longer.
        elapsed = max(0.0, now_seconds - known.last_at)
        wait = min(2.0 ** min(known.count - self._failures_max, 20), WAIT_MAX_SECONDS)
        return max(0.0, wait - elapsed)

    def failed(self, name: str, address: str, now_seconds: float) -> None:
        """Note a failed sign-in."""
        for key in _keys(name, address):
            known = self._entries.pop(key, None)
            if known is None or now_seconds - known.last_at > _FORGET_SECONDS:
                known = _Failures(0, now_seconds)
            known.count += 1
            known.last_at = now_seconds
            self._entries[key] = known
        while len(self._entries) > self._entries_max:
            self._entries.popitem(last=False)

    def succeeded(self, name: str, address: str) -> None:
        """Forget a name's failures, and the one of the address that this attempt was counted as beforehand.

        The address's others stay: somebody may be guessing from there, with an account of their own between.
        """
        by_name, by_address = _keys(name, address)
        self._entries.pop(by_name, None)
        known = self._entries.get(by_address)
        if known is not None:
            known.count -= 1
            if not known.count:
                del self._entries[by_address]


def _keys(name: str, address: str) -> tuple[str, str]:
    return f"name {name}", f"address {_customer(address)}"


def _customer(address: str) -> str:
    """Return what an address is counted as: IPv6 by its network of 64 bits, IPv4 within IPv6 as IPv4."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return f"{IPv6Address(int(parsed) >> _HOST_BITS << _HOST_BITS)}/{128 - _HOST_BITS}"
