"""How long a network between two devices took for STAMP packets, as packet sockets there saw it.

The kernel stamps what a device sends and gets (packet(7)), so whatever the network between them did
to a packet is in the difference. Where the network is a program, as the emulator, so are its waits.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from .namespaces import End

STAMP_PORT: Final = 862
ETHERNET: Final = 14  # octets of its header

_ETH_P_ALL: Final = 3
_ARPHRD_ETHER: Final = 1
_SO_TIMESTAMPNS: Final = 35
_SO_ATTACH_FILTER: Final = 26
_SO_RCVBUFFORCE: Final = 33
_BUFFER: Final = 64 << 20

# Classic BPF on what begins with the IP header: IPv4, UDP, from or to a port; no IP options, as
# all of these packets are.
_FILTER: Final = (
    (0x30, 0, 0, 0),  # ldb [0]
    (0x15, 0, 8, 0x45),
    (0x30, 0, 0, 9),  # ldb [9], the protocol
    (0x15, 0, 6, socket.IPPROTO_UDP),
    (0x28, 0, 0, 20),  # ldh [20], the source port
    (0x15, 3, 0, STAMP_PORT),
    (0x28, 0, 0, 22),  # ldh [22], the destination port
    (0x15, 1, 0, STAMP_PORT),
    (0x06, 0, 0, 0),
    (0x06, 0, 0, 0xFFFF),
    (0x06, 0, 0, 0),
)
_PORTS: Final = struct.Struct("!HH")  # behind the IP header
_PORTS_AT: Final = 20
_SEQUENCE: Final = struct.Struct("!I")
_REQUEST_AT: Final = 28  # its sequence number (RFC 8762, 4.2.1)
_REPLY_AT: Final = 52  # the request's, which a reply repeats (4.3.1)

_Seen = tuple[int, int]  # when a packet passed (Unix ns), and its frame's octets
_Packet = tuple[int, int]  # the sender's port, and the request's sequence number


class Tap:
    """The STAMP packets that a device sends and gets, from now until `close`."""

    def __init__(self, end: End) -> None:
        with end.namespace.inside():
            self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)  # deaf until bound
        program = b"".join(struct.pack("HBBI", *each) for each in _FILTER)
        octets = np.frombuffer(program, np.uint8).copy()
        option = struct.pack("HP", len(_FILTER), octets.ctypes.data)
        self._sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, option)
        self._sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        self._sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._sock.setblocking(False)
        self._sock.bind((end.device, _ETH_P_ALL))

    def close(self) -> None:
        self._sock.close()

    def seen(self) -> tuple[dict[_Packet, _Seen], dict[_Packet, _Seen]]:
        """Return the requests and the replies that passed, in their order; and forget them.

        Of several with one number the first counts.
        """
        requests: dict[_Packet, _Seen] = {}
        replies: dict[_Packet, _Seen] = {}
        while True:
            try:
                packet, ancillary, _, address = self._sock.recvmsg(2048, 256)
            except BlockingIOError:
                return requests, replies
            ((_, _, stamp),) = ancillary
            seconds, ns = struct.unpack("@qq", stamp)
            octets = len(packet) + (ETHERNET if address[3] == _ARPHRD_ETHER else 0)
            seen = (seconds * 10**9 + ns, octets)
            source, destination = _PORTS.unpack_from(packet, _PORTS_AT)
            if destination == STAMP_PORT:
                (number,) = _SEQUENCE.unpack_from(packet, _REQUEST_AT)
                requests.setdefault((source, number), seen)
            else:
                (number,) = _SEQUENCE.unpack_from(packet, _REPLY_AT)
                replies.setdefault((destination, number), seen)


@dataclass(frozen=True, slots=True)
class Session:
    """What became of the packets of one STAMP session between two devices."""

    there_s: NDArray[np.float64]  # of each request that crossed
    rtt_s: NDArray[np.float64]  # of each request answered: both ways, without the far end's time
    rate_bit_s: float  # of the requests' frames, while they came


class Taps:
    """Packet sockets on a device towards the sender of requests and on one towards the reflector.

    They may be the two sites' own, or the two of a router that has a queue between them: what a
    device sends is stamped behind its queue.
    """

    def __init__(self, near: End, far: End) -> None:
        self._near, self._far = Tap(near), Tap(far)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._near.close()
        self._far.close()

    def read(self) -> list[Session]:
        """Return the sessions seen so far, in their order; and forget their packets."""
        (left, returned), (arrived, answered) = self._near.seen(), self._far.seen()
        sessions: dict[int, list[_Packet]] = {}
        for packet in left:
            if packet in arrived:
                sessions.setdefault(packet[0], []).append(packet)
        found = []
        for packets in sessions.values():
            there = {each: arrived[each][0] - left[each][0] for each in packets}
            both = [
                ns + returned[each][0] - answered[each][0]
                for each, ns in there.items()
                if each in returned and each in answered
            ]
            rate = _rate_bit_s([left[each] for each in packets])
            found.append(Session(_seconds(list(there.values())), _seconds(both), rate))
        return found


def _seconds(spans_ns: list[int]) -> NDArray[np.float64]:
    return np.array(spans_ns, np.int64) / 1e9


def _rate_bit_s(passed: list[_Seen]) -> float:
    span_s = (passed[-1][0] - passed[0][0]) / 1e9
    return sum(octets for _, octets in passed[:-1]) * 8 / span_s if span_s else 0.0
