"""What this process may do, each tried or read, and the command that grants it."""

from __future__ import annotations

import os
import pathlib
import socket
from collections.abc import Iterator
from functools import partial
from typing import Final

from netslo.app.doctor.finding import Finding, works
from probes.priority import may_hurry
from probes.sockets import SHARED_RECEIVE_BUFFER, open_shared_socket
from probes.stamp.packet import PORT

_CAP_NET_BIND_SERVICE: Final = 10
_GROUPS: Final = 'sysctl -w net.ipv4.ping_group_range="0 2147483647"'


def privilege_findings() -> Iterator[Finding]:
    """Yield what measuring can make use of; none of it is needed for all of it."""
    yield _stamp_port()
    yield from _echo()
    yield _priority()
    yield _receive_buffer()


def _stamp_port() -> Finding:
    first = _read_number("/proc/sys/net/ipv4/ip_unprivileged_port_start", 1024)
    may = first <= PORT or bool(_capabilities() >> _CAP_NET_BIND_SERVICE & 1)
    return Finding(
        f"port {PORT}",
        may,
        "may be bound" if may else "needs CAP_NET_BIND_SERVICE",
        "" if may else f"netslo reflect needs --listen HOST:PORT with a port from {first} on",
        "" if may else f"sysctl -w net.ipv4.ip_unprivileged_port_start={PORT}",
    )


def _echo() -> Iterator[Finding]:
    ping = works(partial(_opens_icmp, socket.SOCK_DGRAM))
    raw = works(partial(_opens_icmp, socket.SOCK_RAW))
    neither = "" if ping or raw else "no ICMP: far ends without a reflector cannot be measured"
    yield Finding(
        "ping sockets",
        ping,
        "may be opened" if ping else "no group of this process is in net.ipv4.ping_group_range",
        neither or ("" if ping else "ICMP is measured by raw sockets instead"),
        "" if ping else _GROUPS,
    )
    yield Finding(
        "raw sockets",
        raw,
        "may be opened" if raw else "need CAP_NET_RAW",
        neither or ("" if raw else "ICMP is measured by ping sockets instead"),
        "" if raw else "setpriv --ambient-caps +net_raw --inh-caps +net_raw COMMAND",
    )


def _priority() -> Finding:
    off = os.environ.get("NETSLO_REALTIME", "1") == "0"
    may = may_hurry()
    if may and off:
        found = "switched off by NETSLO_REALTIME=0"
    else:
        found = "may be had" if may else "needs CAP_SYS_NICE, or a limit for rtprio"
    good = may and not off
    mend = "unset NETSLO_REALTIME" if may else "prlimit --pid $$ --rtprio=10"
    return Finding(
        "real-time priority",
        good,
        found,
        "" if good else "on a busy host packets leave later; kernel timestamps stay right",
        "" if good else mend,
    )


def _receive_buffer() -> Finding:
    try:
        with open_shared_socket(socket.AF_INET, 0) as trial:
            room = trial.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2  # it is doubled
    except OSError:
        room = 0
    good = room >= SHARED_RECEIVE_BUFFER
    return Finding(
        "receive buffer",
        good,
        f"{room // 1024:,} KiB",
        "" if good else "answers may be dropped in this host at tens of thousands a second",
        "" if good else f"sysctl -w net.core.rmem_max={SHARED_RECEIVE_BUFFER}",
    )


def _opens_icmp(kind: socket.SocketKind) -> bool:
    socket.socket(socket.AF_INET, kind, socket.IPPROTO_ICMP).close()
    return True


def _capabilities() -> int:
    """Return the effective capabilities of this process as a bit set; 0 if unknown."""
    try:
        status = pathlib.Path("/proc/self/status").read_text()
    except OSError:
        return 0
    line = next((line for line in status.splitlines() if line.startswith("CapEff:")), "CapEff: 0")
    return int(line.split()[1], 16)


def _read_number(file: str, default: int) -> int:
    try:
        return int(pathlib.Path(file).read_text())
    except (OSError, ValueError):
        return default
