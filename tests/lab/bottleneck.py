"""A bottleneck between two sites: a router whose link to the far one is a token bucket.

What passes it is seen by others than netslo: packet sockets on both sides of the queue, with the
kernel's times, and the device's own counters.
"""

from __future__ import annotations

import contextlib
import pathlib
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from .namespaces import End, Namespace, shape, veth
from .wan_log import FORWARD, UDP, Rows, rtt_of, select

FRAME: Final = 1514  # octets of a full frame, as the token bucket counts them
SEGMENT: Final = 1448  # octets of TCP payload in it, with timestamps, over IPv4
BURST: Final = 16_000
QUEUE_S: Final = 0.060
STAMP_PORT: Final = 862

_ETH_P_ALL: Final = 3
_SO_TIMESTAMPNS: Final = 35
_SO_ATTACH_FILTER: Final = 26
_SO_RCVBUFFORCE: Final = 33
_BUFFER: Final = 64 << 20
_COUNTER_S: Final = 0.02

# Classic BPF: IPv4, UDP, from or to a port; no IP options, as all of these packets are.
_FILTER: Final = (
    (0x28, 0, 0, 12),  # ldh [12]
    (0x15, 0, 8, 0x0800),
    (0x30, 0, 0, 23),  # ldb [23]
    (0x15, 0, 6, 17),
    (0x28, 0, 0, 34),  # ldh [34], the source port
    (0x15, 3, 0, STAMP_PORT),
    (0x28, 0, 0, 36),  # ldh [36], the destination port
    (0x15, 1, 0, STAMP_PORT),
    (0x06, 0, 0, 0),
    (0x06, 0, 0, 0xFFFF),
    (0x06, 0, 0, 0),
)


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """Sites `a` and `b` with a router between; its devices towards them are `near` and `far`."""

    a: End
    b: End
    near: End
    far: End
    rate_bit_s: int

    @property
    def goodput_bit_s(self) -> float:
        """What TCP can carry through the token bucket at most."""
        return self.rate_bit_s * SEGMENT / FRAME


@contextlib.contextmanager
def bottleneck(
    rate_bit_s: int, access_bit_s: int | None = None, *, offload: bool = False
) -> Iterator[Bottleneck]:
    """Make one, the same in both directions.

    Args:
        rate_bit_s: Of the narrow link, in frames.
        access_bit_s: What `a` can send to the router; None: as fast as the processor.
        offload: Let several segments travel as one, as hosts do. The token bucket counts their
            headers, but the devices do not: without, each frame is counted whole.
    """
    with Namespace("a") as a, Namespace("r") as router, Namespace("b") as b:
        one = veth(a, router, "10.78.1.0/30", "fd00:781::/64", "near0")
        two = veth(router, b, "10.78.2.0/30", "fd00:782::/64", "far0")
        router.set_sysctl("net.ipv4.ip_forward", 1)
        a.ip("route", "add", "default", "via", one.b.address4)
        b.ip("route", "add", "default", "via", two.a.address4)
        for end in () if offload else (one.a, one.b, two.a, two.b):
            end.namespace.run("ethtool", "-K", end.device, "tso", "off", "gso", "off", "gro", "off")
        shape(router, "far0", rate_bit_s, BURST, QUEUE_S)
        shape(router, "near0", rate_bit_s, BURST, QUEUE_S)
        if access_bit_s is not None:
            shape(a, "near0", access_bit_s, BURST, 1.0)
        yield Bottleneck(one.a, two.b, one.b, two.a, rate_bit_s)


class Tap:
    """The STAMP packets that a device sees, with the kernel's times; from now until `close`."""

    def __init__(self, end: End) -> None:
        with end.namespace.inside():
            self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        program = b"".join(struct.pack("HBBI", *each) for each in _FILTER)
        octets = np.frombuffer(program, np.uint8).copy()
        option = struct.pack("HP", len(_FILTER), octets.ctypes.data)
        self._sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, option)
        self._sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        self._sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._sock.bind((end.device, 0))
        self._sock.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self._sock.close()

    def seen(self) -> dict[tuple[int, int, int], tuple[int, int]]:
        """Return of each packet when it passed (Unix ns) and its frame's octets; and forget.

        By UDP source port, destination port and sequence number.
        """
        found: dict[tuple[int, int, int], tuple[int, int]] = {}
        while True:
            try:
                frame, ancillary, _, _ = self._sock.recvmsg(2048, 256)
            except BlockingIOError:
                return found
            (_, _, stamp) = ancillary[0]
            seconds, ns = struct.unpack("@qq", stamp)
            source, destination = struct.unpack_from("!HH", frame, 34)
            (sequence,) = struct.unpack_from("!I", frame, 42)
            key = (source, destination, sequence)
            found.setdefault(key, (seconds * 10**9 + ns, len(frame)))


@dataclass(frozen=True, slots=True)
class Crossed:
    """The packets of one STAMP session that crossed the queue."""

    queue_s: NDArray[np.float64]  # T_out - T_in of each
    rate_bit_s: float  # of their frames, while they came


class Taps:
    """Packet sockets before and behind the queue of one direction."""

    def __init__(self, link: Bottleneck, *, reverse: bool = False) -> None:
        self._before = Tap(link.far if reverse else link.near)
        self._behind = Tap(link.a if reverse else link.b)
        self._reverse = reverse

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._before.close()
        self._behind.close()

    def read(self) -> list[Crossed]:
        """Return each session, in their order: its requests forward, its replies in reverse."""
        before, behind = self._before.seen(), self._behind.seen()
        sessions: dict[int, list[tuple[int, int, int]]] = {}
        for key, (time_ns, octets) in sorted(before.items(), key=lambda item: item[1][0]):
            source, destination, _ = key
            is_reply = source == STAMP_PORT
            if is_reply is not self._reverse or key not in behind:
                continue
            port = destination if is_reply else source
            row = (time_ns, behind[key][0] - time_ns, octets)
            sessions.setdefault(port, []).append(row)
        return [_crossed(np.array(rows)) for rows in sessions.values()]


def _crossed(rows: NDArray[np.int64]) -> Crossed:
    span_s = (rows[-1, 0] - rows[0, 0]) / 1e9
    return Crossed(rows[:, 1] / 1e9, float(rows[:-1, 2].sum() * 8 / span_s) if span_s else 0.0)


class Counters:
    """The octets that the router sent on a device, again and again, with times."""

    def __init__(self, end: End) -> None:
        self._end = end
        self._ended = threading.Event()
        self._rows: list[tuple[float, int]] = []
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()

    def rate_bit_s(self, began_s: float, seconds: float) -> float:
        """Return what went through from a time on (Unix seconds), frames in bit/s."""
        times, octets = np.array(self._rows).T
        ends = np.interp([began_s, began_s + seconds], times, octets)
        return float(ends[1] - ends[0]) * 8 / seconds

    def _read(self) -> None:
        with self._end.namespace.inside():
            while not self._ended.wait(_COUNTER_S):
                now_s = time.time()
                for line in pathlib.Path("/proc/thread-self/net/dev").read_text().splitlines():
                    name, _, figures = line.strip().partition(":")
                    if name == self._end.device:
                        self._rows.append((now_s, int(figures.split()[8])))


def stamp_rtts_s(log: Rows) -> list[NDArray[np.float64]]:
    """Return the round trips of each STAMP session in an emulator's log, in their order, seconds.

    What the far end took to answer is not in them.
    """
    requests = select(log, destination_port=STAMP_PORT, protocol=UDP, direction=FORWARD)
    ports, first = np.unique(requests["source_port"], return_index=True)
    found = []
    for port in ports[np.argsort(first)].tolist():
        flow = {"source_port": port, "destination_port": STAMP_PORT, "protocol": UDP}
        found.append(rtt_of(log, reply_key="sender_sequence", **flow)[1] / 1e9)
    return found


_CROSS: Final = """
import random, socket, sys, time
host, bit_s, seconds = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
payload = bytes(1172)
gap = (len(payload) + 42) * 8 / bit_s
due = time.monotonic()
end = due + seconds
while due < end:
    due += random.expovariate(1 / gap)
    wait = due - time.monotonic()
    if wait > 0:
        time.sleep(wait)
    try:
        sock.sendto(payload, (host, 9))
    except OSError:
        pass
"""


@contextlib.contextmanager
def cross_traffic(link: Bottleneck, share: float, seconds: float = 600.0) -> Iterator[None]:
    """Send packets of others through the narrow link to `b`, a share of its rate, at random."""
    rate = str(share * link.rate_bit_s)
    process = link.near.namespace.popen(
        *(sys.executable, "-c", _CROSS, link.b.address4, rate, str(seconds)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()
