"""A bottleneck between two sites: a router whose link to the far one is a token bucket.

What passes it is seen by others than netslo: the device's own counters, and packet sockets on both
sides of the queue (see `taps`).
"""

from __future__ import annotations

import contextlib
import pathlib
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
from .taps import STAMP_PORT
from .wan_log import FORWARD, UDP, Rows, rtt_of, select

FRAME: Final = 1514  # octets of a full frame, as the token bucket counts them
SEGMENT: Final = 1448  # octets of TCP payload in it, with timestamps, over IPv4
BURST: Final = 16_000  # at least: ten full frames
BURST_S: Final = 0.004  # a bucket holds the tokens of a tick at HZ=250, as tc-tbf(8) asks for
QUEUE_S: Final = 0.060
_COUNTER_S: Final = 0.02


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


def burst_for(rate_bit_s: int) -> int:
    """Return the octets of a bucket that keeps its rate though it is served late at times.

    Tokens that come while it is full are lost, and with them capacity that no sender had: with
    16 kB at 200 Mbit/s whenever it waits longer than 0.64 ms for a processor.
    """
    return max(BURST, round(rate_bit_s * BURST_S / 8))


@contextlib.contextmanager
def bottleneck(
    rate_bit_s: int,
    access_bit_s: int | None = None,
    *,
    offload: bool = False,
    burst: int | None = None,
) -> Iterator[Bottleneck]:
    """Make one, the same in both directions.

    Args:
        rate_bit_s: Of the narrow link, in frames.
        access_bit_s: What `a` can send to the router; None: as fast as the processor.
        offload: Let several segments travel as one, as hosts do. The token bucket counts their
            headers, but the devices do not: without, each frame is counted whole.
        burst: Octets that the bucket of the narrow link holds; None: as many as it needs to keep
            its rate where its timer is late, see `burst_for`.
    """
    octets = burst_for(rate_bit_s) if burst is None else burst
    with Namespace("a") as a, Namespace("r") as router, Namespace("b") as b:
        one = veth(a, router, "10.78.1.0/30", "fd00:781::/64", "near0")
        two = veth(router, b, "10.78.2.0/30", "fd00:782::/64", "far0")
        router.set_sysctl("net.ipv4.ip_forward", 1)
        a.ip("route", "add", "default", "via", one.b.address4)
        b.ip("route", "add", "default", "via", two.a.address4)
        for end in () if offload else (one.a, one.b, two.a, two.b):
            end.namespace.run("ethtool", "-K", end.device, "tso", "off", "gso", "off", "gro", "off")
        shape(router, "far0", rate_bit_s, octets, QUEUE_S)
        shape(router, "near0", rate_bit_s, octets, QUEUE_S)
        if access_bit_s is not None:
            shape(a, "near0", access_bit_s, BURST, 1.0)
        yield Bottleneck(one.a, two.b, one.b, two.a, rate_bit_s)


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
