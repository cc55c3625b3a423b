"""TCP connections that carry as much as they can, in one direction."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from netslo.errors import NetsloError
from probes.bandwidth.result import Received, Throughput
from probes.bandwidth.tcp_info import SIZE, TcpInfo, parse_tcp_info
from probes.bandwidth.throughput import Samples, throughput

SAMPLE_S: Final = 0.05
_CHUNK: Final = 1 << 17
_SO_MAX_PACING_RATE: Final = 47
_PACING_MAX: Final = (1 << 32) - 1
_RECEIVE: Final = 1 << 18
_QUIET_S: Final = 5.0  # without an octet, the other side has given up
_SLOW_READING_S: Final = 0.0005


@dataclass(slots=True)
class Progress:
    """How a load goes, for whoever looks on from another thread."""

    began_s: float = 0.0  # monotonic; 0: not yet
    octets: int = 0
    ended: bool = False
    stop: bool = False  # set by whoever has had enough

    @property
    def begun(self) -> bool:
        return self.began_s > 0


class NoSuchCongestionControl(NetsloError):
    """The sender's kernel does not have it."""


def set_congestion(socks: Sequence[socket.socket], name: str | None) -> str:
    """Have connections use a congestion control, and return which they use.

    Raises:
        NoSuchCongestionControl: this host does not have it, or not for this user.
    """
    if name is not None:
        try:
            for sock in socks:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name.encode())
        except OSError as error:
            raise NoSuchCongestionControl(
                f"congestion control {name} cannot be used by the sender: {error.strerror}"
            ) from error
    octets = socks[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
    return octets.split(b"\0", 1)[0].decode("ascii", "replace")


def limit_rate(socks: Sequence[socket.socket], bit_per_s: float) -> None:
    """Let the connections together send no faster (the kernel paces them)."""
    each = int(bit_per_s / 8 / len(socks))
    for sock in socks:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, max(1, min(each, _PACING_MAX)))


def send_load(
    socks: Sequence[socket.socket],
    seconds: float,
    octets_max: int,
    congestion: str,
    progress: Progress,
) -> Throughput:
    """Send for so long, or so much, and return what the kernel says was carried.

    The connections are broken at the end, so that nothing of them is left on the way.
    """
    data = memoryview(os.urandom(_CHUNK))  # nothing on the way can make it smaller
    samples = Samples()
    sent, ended_by = 0, "time"
    with selectors.DefaultSelector() as selector:
        for sock in socks:
            sock.setblocking(False)  # noqa: FBT003
            selector.register(sock, selectors.EVENT_WRITE)
        began_s = sample_s = time.monotonic()
        progress.began_s = began_s
        end_s = began_s + seconds
        try:
            while (now_s := time.monotonic()) < end_s and not progress.stop:
                if now_s >= sample_s:
                    sample_s = now_s + SAMPLE_S
                    _sample(socks, samples, progress)
                if sent >= octets_max:
                    ended_by = f"the limit of {octets_max} octets"
                    break
                for key, _ in selector.select(max(0.0, min(sample_s, end_s) - now_s)):
                    with contextlib.suppress(BlockingIOError):
                        sent += key.fileobj.send(data[: octets_max - sent])  # type: ignore[union-attr]
        except OSError as error:
            ended_by = f"a connection broke: {error.strerror}"
        if progress.stop:
            ended_by = "the user"
        with contextlib.suppress(OSError):
            _sample(socks, samples, progress)
    progress.ended = True
    for sock in socks:
        break_off(sock)
    return throughput(samples, congestion, ended_by)


def receive_load(
    socks: Sequence[socket.socket], seconds: float, octets_max: int, progress: Progress
) -> Received:
    """Take in what comes until all connections have ended, a time or an amount is over."""
    buffer = bytearray(_RECEIVE)
    total, first_s, last_s = 0, 0.0, 0.0
    with selectors.DefaultSelector() as selector:
        for sock in socks:
            sock.setblocking(False)  # noqa: FBT003
            selector.register(sock, selectors.EVENT_READ)
        progress.began_s = time.monotonic()
        end_s = progress.began_s + seconds
        while selector.get_map() and total < octets_max and not progress.stop:
            now_s = time.monotonic()
            if now_s >= end_s:
                break
            ready = selector.select(min(_QUIET_S, end_s - now_s))
            if not ready:
                break
            for key, _ in ready:
                octets = _take(key.fileobj, buffer)  # type: ignore[arg-type]
                if octets is None:
                    continue
                if not octets:
                    selector.unregister(key.fileobj)
                    continue
                total += octets
                last_s = time.monotonic()
                first_s = first_s or last_s
                progress.octets = total
    progress.ended = True
    for sock in socks:
        break_off(sock)
    return Received(total, last_s - first_s)


def break_off(sock: socket.socket) -> None:
    """End a connection at once, by a reset: what is not sent yet is forgotten."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def _take(sock: socket.socket, buffer: bytearray) -> int | None:
    """Return how much came; 0: it is over; None: nothing after all."""
    try:
        return sock.recv_into(buffer)
    except BlockingIOError:
        return None
    except OSError:
        return 0


def _sample(socks: Sequence[socket.socket], samples: Samples, progress: Progress) -> None:
    """Read TCP_INFO of all connections; again, if this thread was put aside meanwhile.

    Raises:
        OSError: a connection is gone.
    """
    for _ in range(3):
        before_s = time.monotonic()
        infos = [_info(sock) for sock in socks]
        after_s = time.monotonic()
        if after_s - before_s < _SLOW_READING_S * len(socks):
            break
    samples.add((before_s + after_s) / 2, infos)
    progress.octets = samples.delivered(-1)


def _info(sock: socket.socket) -> TcpInfo:
    octets = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, SIZE)
    info = parse_tcp_info(octets)
    if info is None:
        raise NetsloError("this kernel is too old: its TCP_INFO has no delivery rate (Linux 4.9)")
    return info
