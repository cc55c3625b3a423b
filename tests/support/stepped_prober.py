"""The compiled measuring loop, one turn at a time in the thread of the test, and ends for it.

The loop is the one that engines run. Here it is called when the test wants it to be, so a test
says what is due, what has come by then, and what time-outs are, and waits for no clock.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from forged_datagrams import PATIENCE_S, Octets, roomy_socket, send_forged
from independent_stamp import digest
from numpy.typing import NDArray

from analytics.windows import PacketCounts, SeriesKey
from netslo.model import Path
from probes._kernels.layouts import CAUSES, KEEP_NS, READ_NS
from probes._kernels.measuring import measure
from probes._kernels.stamp import AUTHENTICATED, UNAUTHENTICATED
from probes.address import SocketAddress
from probes.instant import read_clocks
from probes.kernel_state import Door, Plant
from probes.session import SessionPlan
from probes.stamp.events import FollowUpFault
from probes.timestamps import keep_stamping

MS, S, HOUR = 1_000_000, 1_000_000_000, 3600 * 1_000_000_000
_SO_TIMESTAMPNS = 35

# RFC 8762 sections 4.2.1, 4.2.2, 4.3.1 and 4.3.2: names, formats, and where they stand.
_NAMES = ["own", "t3", "error", "ssid", "t2", "seq", "t1", "t1_error", "ttl"]
_FORMATS = [">u4", ">u8", ">u2", ">u2", ">u8", ">u4", ">u8", ">u2", "u1"]
_REQUEST_NAMES = ["seq", "t1", "error", "ssid"]
_REQUEST_FORMATS = [">u4", ">u8", ">u2", ">u2"]


def _layout(
    names: list[str], formats: list[str], offsets: list[int], size: int
) -> np.dtype[np.void]:
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": size})


REPLIES = (
    _layout(_NAMES, _FORMATS, [0, 4, 12, 14, 16, 24, 28, 36, 40], 44),
    _layout(_NAMES, _FORMATS, [0, 16, 24, 26, 32, 48, 64, 72, 80], 112),
)
REQUESTS = (
    _layout(_REQUEST_NAMES, _REQUEST_FORMATS, [0, 4, 12, 14], 44),
    _layout(_REQUEST_NAMES, _REQUEST_FORMATS, [0, 16, 24, 26], 112),
)


def fields(octets: Octets, layouts: tuple[np.dtype[np.void], ...], kind: int) -> NDArray[np.void]:
    """Return the base packets of datagrams, (n,), as a copy."""
    layout = layouts[kind]
    return np.ascontiguousarray(octets[:, : layout.itemsize]).view(layout)[:, 0]


def true_replies(requests: Octets, kind: int) -> NDArray[np.void]:
    """Return replies by RFC 8762 section 4.3; T2 and T3 are T1, which no clock contradicts."""
    asked = fields(requests, REQUESTS, kind)
    found = np.zeros(len(asked), REPLIES[kind])
    found["own"] = found["seq"] = asked["seq"]
    found["t1"] = found["t2"] = found["t3"] = asked["t1"]
    found["ssid"], found["t1_error"] = asked["ssid"], asked["error"]
    found["error"], found["ttl"] = 1, 255
    return found


def octets_of(replies: NDArray[np.void], key: bytes | None = None) -> Octets:
    """Return replies as they go out, signed where there is a key."""
    size = replies.dtype.itemsize
    found = np.ascontiguousarray(replies).view(np.uint8).reshape(-1, size).copy()
    if key is not None:
        for row in found:
            row[96:112] = np.frombuffer(digest(key, row[:96].tobytes()), np.uint8)
    return found


@dataclass
class Peer:
    """A far end, and the session that measures it."""

    index: int
    sock: socket.socket
    kind: int
    key: bytes | None
    name: str

    def requests(self, count: int) -> Octets:
        """Return the next so many, (count, size)."""
        came = [self.sock.recv(2048) for _ in range(count)]
        return np.frombuffer(b"".join(came), np.uint8).reshape(count, -1)


@dataclass
class Prober:
    """The loop on sockets of loopback."""

    plant: Plant = field(default_factory=Plant)
    _control: int = field(default_factory=lambda: os.eventfd(1, os.EFD_CLOEXEC))
    _peers: list[Peer] = field(default_factory=list)

    def add(self, name: str, *, key: bytes | None = None, timeout_ns: int = 60 * S) -> Peer:
        """Add a session and its far end; nothing of it is due until `due` says so."""
        plan = SessionPlan(SeriesKey(Path("here", name, "ef")), MS, timeout_ns, secret=key)
        sock = roomy_socket()
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        now = read_clocks()
        index = self.plant.add(plan, now, phase_ns=0, count=0, error=1)
        kind = UNAUTHENTICATED if key is None else AUTHENTICATED
        target = SocketAddress(socket.AF_INET, sock.getsockname())
        self.plant.direct(index, target, Door("here", socket.AF_INET, 46, 0, kind))
        session = self.plant.state.sessions[index]
        session["tolerance_ns"] = HOUR  # whatever this machine does meanwhile
        session["hold_ns"] = 0
        self._peers.append(Peer(index, sock, kind, key, name))
        return self._peers[-1]

    def remove(self, peer: Peer) -> None:
        """Have a session's place free for another."""
        self.plant.retire(peer.index)
        self.plant.free(peer.index)
        self._peers.remove(peer)
        peer.sock.close()

    def due(self, peer: Peer, packets: int) -> None:
        """Let so many packets become due now."""
        session = self.plant.state.sessions[peer.index]
        session["count"] = session["taken"] + packets
        session["first_ns"] = time.monotonic_ns() - int(session["count"]) * MS
        self.plant._make_heap()

    def turn(self, *, grace_ns: int = 0, generation: int | None = None) -> None:
        """Let the loop send what is due, read what has come, and settle what is over."""
        self.plant.state.words[[READ_NS, KEEP_NS]] = 0
        if generation is None:
            self.plant.take_turns(self._control, 0, grace_ns)
        else:
            measure(self.plant.state, generation, self._control, 0, grace_ns)

    def send(self, peer: Peer, packets: int) -> Octets:
        """Let packets leave for a peer; return them as they came there."""
        self.due(peer, packets)
        self.turn()
        peer.sock.connect(("127.0.0.1", self.plant.source_port(peer.index)))
        return peer.requests(packets)

    def feed(
        self, peer: Peer, octets: Octets, lengths: NDArray[np.int64] | int | None = None
    ) -> None:
        """Have datagrams come from a peer; returns when the loop has read them all."""
        whole = octets.shape[1] if lengths is None else lengths
        each = np.broadcast_to(np.asarray(whole, np.int64), len(octets))
        for begin in range(0, len(octets), 64):
            part = slice(begin, begin + 64)
            wanted = self.seen() + len(octets[part])
            send_forged(peer.sock, octets[part], each[part])
            self.turn_until(lambda wanted=wanted: self.seen() >= wanted)
            assert self.seen() == wanted

    def turn_until(self, condition) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        self.turn()
        while not condition():
            assert time.monotonic() < deadline_s
            self.turn()

    def totals(self, peer: Peer) -> PacketCounts:
        session = self.plant.state.sessions[peer.index]
        names = ("answered", "lost", "unmeasured", "duplicates", "reordered")
        return PacketCounts(*(int(session[name]) for name in names))

    def discarded(self) -> Counter[str]:
        """Return what was of no use, by its cause."""
        counts = self.plant.state.discarded.sum(axis=0)
        return Counter({CAUSES[at]: int(counts[at]) for at in np.flatnonzero(counts)})

    def seen(self) -> int:
        """Return how many datagrams the loop has judged: each has one end, and only one."""
        sessions = self.plant.state.sessions
        good = sessions["answered"].sum() + sessions["duplicates"].sum()
        stepped = sessions["unmeasured"].sum()
        follow_ups = [CAUSES.index(fault) for fault in FollowUpFault]
        refused = self.plant.state.discarded.sum() - self.plant.state.discarded[:, follow_ups].sum()
        return int(good + stepped + refused)

    def close(self) -> None:
        self.plant.close()
        os.close(self._control)
        for peer in self._peers:
            peer.sock.close()


@contextmanager
def stepped_prober() -> Iterator[Prober]:
    """Yield a prober without sessions."""
    keep_stamping()
    prober = Prober()
    try:
        yield prober
    finally:
        prober.close()


class Passage(NamedTuple):
    """What an honest far end knows of a packet; Unix nanoseconds."""

    before_ns: int  # a time before the packet left
    came_ns: int  # when this host's kernel took it in
    left_ns: int  # when the reply was handed over
    after_ns: int  # a time after the prober has read that


def answer_honestly(prober: Prober, peer: Peer) -> Passage:
    """Measure a far end that tells the truth, once; return what it knows of that."""
    before_ns = time.time_ns()
    prober.due(peer, 1)
    prober.turn()
    peer.sock.connect(("127.0.0.1", prober.plant.source_port(peer.index)))
    request, ancillary, _, _ = peer.sock.recvmsg(2048, 256)
    seconds, ns = struct.unpack("qq", next(value for *_, value in ancillary))
    came_ns = seconds * S + ns
    reply = true_replies(np.frombuffer(request, np.uint8)[None, :], peer.kind)
    left_ns = time.time_ns()
    reply["t2"], reply["t3"] = encoded(came_ns), encoded(left_ns)
    prober.feed(peer, octets_of(reply, peer.key))
    return Passage(before_ns, came_ns, left_ns, time.time_ns())


def encoded(unix_ns: int) -> int:
    """Return an NTP timestamp (RFC 5905 section 6)."""
    seconds, ns = divmod(unix_ns, S)
    return (seconds + 2_208_988_800) << 32 | (ns << 32) // S
