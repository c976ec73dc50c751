"""Connections to addresses that others may name: only to the public Internet, or to networks that the settings allow.

A webhook's host is looked up here, each of its addresses is judged, and the connection goes to one that was judged, so
that a name that changes its mind between check and connection gains nothing. Owns which addresses are public.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

import httpcore
from httpcore import SOCKET_OPTION

from sinks.connecting import first_connection

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Awaitable[list[Address]]]
_NAT64: Final = IPv6Network("64:ff9b::/96")
_LOCAL_NAT64: Final = IPv6Network("64:ff9b:1::/48")


class AddressRefused(ConnectionError):
    """An address must not be connected to; the text does not name it, as that would answer who asks for it."""


async def resolve(host: str, port: int) -> list[Address]:
    """Return the addresses of a host.

    Raises:
        OSError: there are none, or nobody says.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ip_address(str(entry[4][0]).partition("%")[0]) for entry in found))


class AddressGuard:
    """Says which addresses may be connected to."""

    def __init__(self, allowed_networks: Iterable[str] = ()) -> None:
        """Take the networks that are allowed beside the public Internet."""
        self._allowed = tuple(ip_network(network) for network in allowed_networks)

    def is_listed(self, address: Address) -> bool:
        """Tell whether the settings name a network of what an address stands for."""
        meant = _meant(address)
        return self._is_named(meant) and (meant not in _LOCAL_NAT64 or self.is_listed(_inner(meant)))

    def may_connect(self, address: Address) -> bool:
        """Tell whether an address may be connected to; what it stands for counts, not how it is written."""
        meant = _meant(address)
        if meant in _LOCAL_NAT64:
            # A translator of one's own is not public, and to list it opens nothing of what is behind it.
            return self._is_named(meant) and self.may_connect(_inner(meant))
        return self._is_named(meant) or all(_is_public(each) for each in _meanings(meant))

    def _is_named(self, address: Address) -> bool:
        return any(address in network for network in self._allowed)


def _meant(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address is only another way to write, or a way to: else the address."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        # What a name server makes for hosts without IPv4, of any address: nothing else is in that network.
        if address in _NAT64:
            return _inner(address)
    return address


def _inner(address: Address) -> IPv4Address:
    return IPv4Address(int(address) & 0xFFFFFFFF)


def _meanings(address: Address) -> Sequence[Address]:
    """Return an address, and the ones that it carries inside."""
    inner: list[Address] = [address]
    if isinstance(address, IPv6Address):
        if address.sixtofour is not None:
            inner.append(address.sixtofour)
        if address.teredo is not None:
            inner += address.teredo
    return inner


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address.is_site_local:
        return False  # deprecated, and inside where it is still used
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Opens connections for ``httpcore`` to addresses that the guard lets pass."""

    def __init__(
        self,
        guard: AddressGuard,
        resolve_host: Resolve = resolve,
        *,
        listed_only: bool = False,
    ) -> None:
        """Take the guard.

        Args:
            guard: judges each address.
            resolve_host: gives the addresses of a host.
            listed_only: let only networks of the settings pass, for what is sent unencrypted.
        """
        self._guard = guard
        self._resolve = resolve_host
        self._listed_only = listed_only
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's interface
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of the host that may be connected to and answers, however long others take."""
        async with asyncio.timeout(timeout):
            addresses = [address for address in await self._resolve(host, port) if self._passes(address)]
        if not addresses:
            raise AddressRefused("the host has no address that notices may be sent to")
        return await first_connection(
            [
                partial(self._backend.connect_tcp, str(address), port, timeout, local_address, socket_options)
                for address in addresses
            ],
            lambda connection: connection.aclose(),
        )

    def _passes(self, address: Address) -> bool:
        return self._guard.is_listed(address) if self._listed_only else self._guard.may_connect(address)

    async def connect_unix_socket(
        self,
        path: str,  # noqa: ARG002
        timeout: float | None = None,  # noqa: ARG002, ASYNC109
        socket_options: Iterable[SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        """Refuse: nobody is notified by a file."""
        raise AddressRefused("notices are not sent to a socket file")

    async def sleep(self, seconds: float) -> None:
        """See ``AsyncNetworkBackend.sleep``."""
        await asyncio.sleep(seconds)


def trust(ca_file: str = "") -> ssl.SSLContext:
    """Return whom to trust: the system's authorities, or those of a file (PEM)."""
    context = ssl.create_default_context(cafile=ca_file or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
