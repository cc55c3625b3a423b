"""What this host cannot do for a measurement, and what that costs; said once, at the start."""

from __future__ import annotations

import importlib.util
import os
import socket
from collections.abc import Iterator
from typing import Final

from probes.address import SocketAddress
from probes.icmp.socket import open_echo_socket
from probes.priority import may_hurry
from probes.sockets import SHARED_RECEIVE_BUFFER, open_shared_socket
from probes.timestamps import enable_timestamps

_LOOPBACK: Final = SocketAddress(socket.AF_INET, ("127.0.0.1", 0))


def lacking(*, echo: bool = False, trace: bool = False) -> tuple[str, ...]:
    """Return what is missing, each in one line; nothing if all is there.

    Args:
        echo: Whether ICMP will be asked for.
        trace: Whether routes will be traced.
    """
    return tuple(_lacking(echo=echo, trace=trace))


def _lacking(*, echo: bool, trace: bool) -> Iterator[str]:
    with open_shared_socket(socket.AF_INET, 0) as trial:
        if not enable_timestamps(trial, transmit=True):
            yield (
                "no kernel timestamps of what leaves (SO_TIMESTAMPING): quality C, "
                "this host's own delays are in every round trip"
            )
        room = trial.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2  # the kernel doubles it
        if room < SHARED_RECEIVE_BUFFER:
            yield (
                f"receive buffers of {room // 1024} KiB (net.core.rmem_max, or CAP_NET_ADMIN): "
                "answers may be dropped here at high rates"
            )
    if importlib.util.find_spec("numba") is None:
        yield "no numba: above some 1,000 packets/s many would not be sent in time"
    elif os.environ.get("NETSLO_REALTIME", "1") != "0" and not may_hurry():
        yield "no real-time priority (CAP_SYS_NICE, or rtprio): late packets when the host is busy"
    if echo and not _may_echo():
        yield (
            "no ICMP sockets (net.ipv4.ping_group_range, or CAP_NET_RAW): "
            "what is probed by ICMP is unmeasured"
        )
    if trace and not may_trace():
        yield (
            "no raw sockets (CAP_NET_RAW): routes are traced by UDP only, a packet of a flow at a "
            "time, and without MPLS labels"
        )


def may_trace() -> bool:
    """Whether this process may open raw sockets, which traces by TCP and ICMP need."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
    except OSError:
        return False
    return True


def _may_echo() -> bool:
    try:
        open_echo_socket(_LOOPBACK, 0).close()
    except PermissionError:
        return False
    except OSError:
        pass  # for another reason, which may pass
    return True
