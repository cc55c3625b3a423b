"""Connections to services: TCP, with TLS over it where asked, and UDP; the only sockets here."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Awaitable
from typing import Final, Self, TypeVar

from netslo.service import Phase, ServiceResult, Transport, Where
from probes.address import SocketAddress
from probes.services.exchange import Failed, NotTried, Stopwatch
from probes.services.lookup import Resolver
from probes.services.tls import TlsClient
from probes.sockets import set_traffic_class

READ_MAX: Final = 8 << 10  # octets at a time: what a peer sends must not hold up the others
HANDSHAKE_MAX: Final = 256 << 10  # octets of a TLS handshake

T = TypeVar("T")

# What the network or the far end says; anything else is this host's own trouble.
_SAID: Final = {
    errno.ECONNREFUSED: ServiceResult.REFUSED,
    errno.ECONNRESET: ServiceResult.RESET,
    errno.EPIPE: ServiceResult.RESET,
    errno.ECONNABORTED: ServiceResult.RESET,
    errno.EHOSTUNREACH: ServiceResult.UNREACHABLE,
    errno.ENETUNREACH: ServiceResult.UNREACHABLE,
    errno.EHOSTDOWN: ServiceResult.UNREACHABLE,
    errno.ENOPROTOOPT: ServiceResult.UNREACHABLE,
    errno.EPROTO: ServiceResult.UNREACHABLE,
    errno.ETIMEDOUT: ServiceResult.TIMEOUT,
}
_AT_ONCE: Final = frozenset({errno.ECONNREFUSED, errno.ECONNRESET})  # loopback answers at once


class Connection:
    """One connection. Every octet that arrives counts against a limit.

    Use as a context manager; leaving it closes the socket.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._tls: TlsClient | None = None
        self.received = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    async def secure(self, context: ssl.SSLContext, server_name: str) -> int | None:
        """Go through a TLS handshake; returns when the peer's certificate expires, Unix time.

        Raises:
            Failed: it failed.
        """
        tls = TlsClient(context, server_name)
        try:
            while not tls.handshake():
                await self._send(tls.outgoing())
                octets = await self._receive(HANDSHAKE_MAX)
                tls.feed(octets)
        except Failed:
            await self._say_goodbye(tls)  # the alert that tells the peer why
            raise
        await self._send(tls.outgoing())
        self._tls = tls
        return tls.certificate_expires_s

    async def send(self, octets: bytes) -> None:
        """Send.

        Raises:
            Failed: the connection is broken.
        """
        if self._tls is not None:
            self._tls.write(octets)
            octets = self._tls.outgoing()
        await self._send(octets)

    async def receive(self, octets_max: int) -> bytes:
        """Return what arrives next, nothing at the end.

        Args:
            octets_max: Of the whole connection, as they come from the network.

        Raises:
            Failed: the connection is broken, or more has come.
        """
        if self._tls is None:
            return await self._receive(octets_max)
        while True:
            octets = self._tls.read(READ_MAX)
            if octets is not None:
                return octets
            self._tls.feed(await self._receive(octets_max))
            await self._send(self._tls.outgoing())  # TLS may have to answer by itself

    async def datagram(self, octets_max: int) -> bytes:
        """Return the datagram that arrives next, cut where it is longer."""
        return await _say(self._loop.sock_recv(self._sock, octets_max))

    async def _send(self, octets: bytes) -> None:
        if octets:
            await _say(self._loop.sock_sendall(self._sock, octets))

    async def _receive(self, octets_max: int) -> bytes:
        # asyncio takes what is there already without a turn of the loop.
        await asyncio.sleep(0)
        octets = await _say(self._loop.sock_recv(self._sock, READ_MAX))
        self.received += len(octets)
        if self.received > octets_max:
            raise Failed(ServiceResult.TOO_LARGE, f"more than {octets_max} octets")
        return octets

    async def _say_goodbye(self, tls: TlsClient) -> None:
        try:
            await self._send(tls.outgoing())
        except Failed:
            return


class Connector:
    """Opens connections; `dscp` is on every packet of them."""

    def __init__(self, resolver: Resolver, dscp: int) -> None:
        self._resolver = resolver
        self._dscp = dscp

    async def open(
        self, where: Where, watch: Stopwatch, transport: Transport = Transport.TCP
    ) -> Connection:
        """Resolve and connect, one address after the other until one works.

        Raises:
            Failed: the last of them did not.
            NotTried: this host has no socket or no route.
        """
        kind = socket.SOCK_DGRAM if transport is Transport.UDP else socket.SOCK_STREAM
        watch.enter(Phase.DNS)
        addresses = await self._resolver.resolve(where, kind)
        watch.enter(Phase.CONNECT)
        trouble: Exception = Failed(ServiceResult.UNRESOLVED, "no address")
        for address in addresses:
            try:
                return Connection(await self._connect(address, kind))
            except Failed as failure:
                trouble = failure
            except NotTried as failure:
                trouble = trouble if _tried(trouble) else failure
        raise trouble

    async def _connect(self, address: SocketAddress, kind: socket.SocketKind) -> socket.socket:
        try:
            sock = socket.socket(address.family, kind)
        except OSError as error:
            raise NotTried(_name(error.errno)) from error
        try:
            sock.setblocking(False)  # noqa: FBT003
            set_traffic_class(sock, self._dscp << 2)
            if kind == socket.SOCK_STREAM:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await _establish(sock, address)
        except BaseException as error:
            sock.close()
            if isinstance(error, OSError):
                raise NotTried(_name(error.errno)) from error
            raise
        return sock


async def _establish(sock: socket.socket, address: SocketAddress) -> None:
    """Connect.

    Raises:
        Failed: the network or the far end says no.
        OSError: this host says no, for that comes at once.
    """
    number = sock.connect_ex(address.sockaddr)
    if number in _AT_ONCE:
        raise Failed(_SAID[number])
    if number not in {0, errno.EINPROGRESS}:
        raise OSError(number, os.strerror(number))
    if number == errno.EINPROGRESS:
        await _writable(sock)
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise _failure(number)


async def _writable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    def settle() -> None:
        if not future.done():
            future.set_result(None)

    loop.add_writer(sock, settle)
    try:
        await future
    finally:
        loop.remove_writer(sock)


async def _say(work: Awaitable[T]) -> T:
    """Turn what the system reports of a connection into how the exchange ended."""
    try:
        return await work
    except OSError as error:
        raise _failure(error.errno or 0) from error


def _failure(number: int) -> Failed:
    return Failed(_SAID.get(number, ServiceResult.UNREACHABLE), _name(number))


def _tried(trouble: Exception) -> bool:
    return isinstance(trouble, Failed) and trouble.result is not ServiceResult.UNRESOLVED


def _name(number: int | None) -> str:
    return errno.errorcode.get(number or 0, str(number))
