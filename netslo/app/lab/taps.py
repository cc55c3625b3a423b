"""What the real link did to each test packet: its truth, as the emulator's log is that of its WAN.

A packet socket at either site sees what leaves and what arrives, with the kernel's own time of it
(packet(7)). One host, one clock: the difference is how long the network took.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from netslo.model import NS_PER_S, Window
from probes.emulator.log import DROPPED, FORWARD, REVERSE, FlowLog, Truth
from probes.stamp.packet import PORT

_ETH_P_ALL: Final = 3  # <linux/if_ether.h>: with what leaves
_SO_ATTACH_FILTER: Final = 26
_SO_TIMESTAMPNS_NEW: Final = 64
_TIMESPEC = struct.Struct("@qq")
_SNAP_BYTES: Final = 256
_ROWS_MAX: Final = 1_000_000
_GONE_NS: Final = NS_PER_S  # what has not arrived after that will not

# Offsets behind the UDP header: see probes/stamp/packet.py.
_UDP_SIZE: Final = 8
_PORTS = struct.Struct("!HH")
_REQUEST = struct.Struct("!I10xH")  # sequence number, SSID
_REPLY = struct.Struct("!14xH8xI")  # SSID, sender's sequence number

# Classic BPF (bpf(4)) on what begins with the IPv4 header: UDP from or to the port, whole.
_PROGRAM: Final = (
    (0x30, 0, 0, 9),  # ldb [9], the protocol
    (0x15, 0, 8, socket.IPPROTO_UDP),  # jeq
    (0x28, 0, 0, 6),  # ldh [6], flags and fragment offset
    (0x45, 6, 0, 0x1FFF),  # jset: no first fragment
    (0xB1, 0, 0, 0),  # ldx 4*([0]&0xf)
    (0x48, 0, 0, 0),  # ldh [x + 0], from
    (0x15, 2, 0, PORT),
    (0x48, 0, 0, 2),  # ldh [x + 2], to
    (0x15, 0, 1, PORT),
    (0x06, 0, 0, _SNAP_BYTES),
    (0x06, 0, 0, 0),
)


def open_tap(device: str) -> socket.socket:
    """Return a socket that sees the test packets of a device, in the calling thread's namespace."""
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)  # deaf until it is bound
    octets = b"".join(struct.pack("@HBBI", *each) for each in _PROGRAM)
    program = ctypes.create_string_buffer(octets)
    tap.setsockopt(
        socket.SOL_SOCKET,
        _SO_ATTACH_FILTER,
        struct.pack("@HP", len(_PROGRAM), ctypes.addressof(program)),
    )
    tap.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS_NEW, 1)
    tap.setblocking(False)  # noqa: FBT003
    tap.bind((device, _ETH_P_ALL))
    return tap


_Flow = tuple[int, int]  # the sender's port and SSID
_Crossing = tuple[_Flow, int, int]  # a packet by its number, in one direction


@dataclass(slots=True)
class Taps:
    """The taps of both sites. For one thread."""

    near: socket.socket
    far: socket.socket
    _left_ns: dict[_Crossing, int] = field(default_factory=dict)
    _arrived_ns: dict[_Crossing, int] = field(default_factory=dict)

    def read_near(self) -> None:
        """Take in what the near site's tap has seen."""
        self._read(self.near, leaves=FORWARD)

    def read_far(self) -> None:
        """Take in what the far site's tap has seen."""
        self._read(self.far, leaves=REVERSE)

    def truth(self, without: Collection[Window] = ()) -> Truth:
        """Return what became of the packets of the longest flow, but for those of some windows.

        Short ones are of a capacity test, and no part of the path's windows.
        """
        flow = self._longest()
        log = FlowLog()
        latest_ns = max(self._left_ns.values(), default=0)
        for crossing, left_ns in self._left_ns.items():
            if crossing[0] != flow or Window.containing(left_ns) in without:
                continue
            arrived_ns = self._arrived_ns.get(crossing)
            if arrived_ns is None and latest_ns - left_ns < _GONE_NS:
                continue
            log.note(
                crossing[1], crossing[2], left_ns, DROPPED if arrived_ns is None else arrived_ns
            )
        return log.truth()

    def close(self) -> None:
        """Let go of both."""
        self.near.close()
        self.far.close()

    def _longest(self) -> _Flow | None:
        spans: dict[_Flow, tuple[int, int]] = {}
        for (flow, _, _), ns in self._left_ns.items():
            first, last = spans.get(flow, (ns, ns))
            spans[flow] = (min(first, ns), max(last, ns))
        return max(spans, key=lambda each: spans[each][1] - spans[each][0], default=None)

    def _read(self, tap: socket.socket, leaves: int) -> None:
        with suppress(BlockingIOError):
            while True:
                data, controls, _, address = tap.recvmsg(_SNAP_BYTES, 64)
                at_ns = _time_ns(controls)
                found = _crossing(data)
                if at_ns is None or found is None:
                    continue
                outgoing = address[2] == socket.PACKET_OUTGOING
                if outgoing != (found[2] == leaves):
                    continue
                times = self._left_ns if outgoing else self._arrived_ns
                if len(times) < _ROWS_MAX:
                    times.setdefault(found, at_ns)


def _time_ns(controls: list[tuple[int, int, bytes]]) -> int | None:
    for level, kind, data in controls:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS_NEW):
            seconds, nanoseconds = _TIMESPEC.unpack(data[: _TIMESPEC.size])
            return int(seconds * NS_PER_S + nanoseconds)
    return None


def _crossing(packet: bytes) -> _Crossing | None:
    """Read which test packet it is, from its IPv4 header on; None for anything else."""
    try:
        udp = 4 * (packet[0] & 0xF)
        source, destination = _PORTS.unpack_from(packet, udp)
        if destination == PORT:
            sequence, ssid = _REQUEST.unpack_from(packet, udp + _UDP_SIZE)
            return (source, ssid), sequence, FORWARD
        ssid, sequence = _REPLY.unpack_from(packet, udp + _UDP_SIZE)
    except (IndexError, struct.error):
        return None
    return (destination, ssid), sequence, REVERSE
