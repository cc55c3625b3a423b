"""What this host can measure with: each finding is tried, not assumed."""

from __future__ import annotations

import os
import pathlib
import platform
import select
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from importlib import metadata
from typing import Any, Final

from analytics import _kernels
from netslo import __version__
from netslo.errors import NetsloError
from netslo.model import Endpoint, Quality
from netslo.units import format_ms
from probes.clock import read_clock_state
from probes.measure import MeasurePlan, Measuring
from probes.measurement import Measurement
from probes.reflector import ReflectorServer
from probes.sockets import read_datagram
from probes.timestamps import enable_timestamps

_LOOPBACK: Final = "127.0.0.1"
_SO_TIMESTAMPING: Final = 37
_SO_TIMESTAMPING_NEW: Final = 65
_TX_SOFTWARE, _SOFTWARE, _TIMESTAMP_ONLY = 1 << 1, 1 << 4, 1 << 11
_TRANSMIT_WAIT_MS: Final = 500
_CAP_NET_BIND_SERVICE: Final = 10
_STAMP_PORT: Final = 862
_SELF_TEST_PACKETS: Final = 200
_SELF_TEST_INTERVAL_S: Final = 0.005

_EXTRAS: Final = {  # distributions, as pyproject.toml has them (a test compares)
    "probe": (
        "aiohttp",
        "opentelemetry-exporter-otlp-proto-common",
        "opentelemetry-proto",
        "opentelemetry-sdk",
        "scapy",
        "tenacity",
        "zstandard",
    ),
    "analytics": (
        "aiohttp",
        "numba",
        "opentelemetry-proto",
        "prometheus-client",
        "pyarrow",
        "zstandard",
    ),
    "dashboards": ("grafanalib",),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about this host. `needed` says that measuring cannot do without it."""

    what: str
    good: bool
    found: str
    meaning: str
    needed: bool = False
    figures: dict[str, float | None] | None = None  # seconds

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def examine() -> list[Finding]:
    """Look at everything; takes about three seconds, most of it the self-test and numba."""
    return [
        Finding(
            "netslo",
            good=True,
            found=f"{__version__}, Python {platform.python_version()}, Linux {platform.release()}",
            meaning="",
        ),
        _receive_timestamps(),
        _transmit_timestamps(),
        _quality(),
        _self_test(),
        _clock(),
        *_privileges(),
        *_extras(),
        _numba(),
    ]


def _receive_timestamps() -> Finding:
    good = _works(_stamps_what_arrives)
    return Finding(
        "kernel receive timestamps",
        good,
        "SO_TIMESTAMPNS works" if good else "SO_TIMESTAMPNS does not work",
        "T2 and T4 do not contain this host's scheduling"
        if good
        else "T2 and T4 are read in user space: a busy host looks like a slow network",
    )


def _transmit_timestamps() -> Finding:
    good = _works(_stamps_what_leaves)
    return Finding(
        "kernel transmit timestamps",
        good,
        "SO_TIMESTAMPING works" if good else "SO_TIMESTAMPING does not work",
        "not used yet" if good else "T1 and T3 could only be read in user space",
    )


def _quality() -> Finding:
    return Finding(
        "timestamp quality",
        good=True,
        found=f"class {Quality.C}",
        meaning="T1 and T3 are read in user space, just before the packet is sent",
    )


def _works(attempt: Callable[[], bool]) -> bool:
    """Try something; a kernel, a sandbox or a firewall that refuses it has answered too."""
    try:
        return attempt()
    except OSError:
        return False


def _stamps_what_arrives() -> bool:
    """Send a datagram to ourselves and see whether the kernel stamps it as it arrives."""
    with _udp() as receiver, _udp() as sender:
        enable_timestamps(receiver)
        receiver.bind((_LOOPBACK, 0))
        receiver.settimeout(1)
        sender.sendto(b"netslo", receiver.getsockname())
        datagram = read_datagram(receiver)
    return datagram is not None and datagram.received_ns is not None


def _stamps_what_leaves() -> bool:
    """Send a datagram to ourselves and see whether the kernel's error queue has its stamp."""
    with _udp() as receiver, _udp() as sender:
        receiver.bind((_LOOPBACK, 0))
        flags = _TX_SOFTWARE | _SOFTWARE | _TIMESTAMP_ONLY
        sender.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING, flags)
        sender.sendto(b"netslo", receiver.getsockname())
        poll = select.poll()
        poll.register(sender, select.POLLERR)
        if not poll.poll(_TRANSMIT_WAIT_MS):
            return False
        queue = socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT
        _, ancillary, _, _ = sender.recvmsg(64, 512, queue)
    kinds = {kind for level, kind, _ in ancillary if level == socket.SOL_SOCKET}
    return not kinds.isdisjoint((_SO_TIMESTAMPING, _SO_TIMESTAMPING_NEW))


def _udp() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def _self_test() -> Finding:
    """Measure ourselves over loopback: nothing measured here can be finer than that."""
    try:
        result = _measure_ourselves()
    except (NetsloError, OSError) as error:
        return Finding(
            "noise floor",
            good=False,
            found=str(error),
            meaning="nothing can be measured",
            needed=True,
        )
    packets = result.total.packets
    quantiles = result.to_json()["rtt"]["quantiles"]
    figures = {q: quantiles[q]["value"] for q in ("0.5", "0.99")}
    return Finding(
        "noise floor",
        packets.answered == packets.due,
        f"P50 {format_ms(figures['0.5'], 3)} ms, P99 {format_ms(figures['0.99'], 3)} ms "
        f"({packets.answered} of {packets.due} answered)",
        "differences smaller than that belong to this host, not to the network",
        needed=True,
        figures=figures,
    )


def _measure_ourselves() -> Measurement:
    stop = threading.Event()
    server = ReflectorServer([Endpoint(_LOOPBACK, 0)])
    thread = threading.Thread(target=server.run, args=(stop,), daemon=True)
    thread.start()
    plan = MeasurePlan(
        (server.endpoints[0],),
        count=_SELF_TEST_PACKETS,
        interval_s=_SELF_TEST_INTERVAL_S,
        timeout_s=1.0,
    )
    try:
        return Measuring(plan).run(lambda: None).targets[0]
    finally:
        stop.set()
        thread.join()


def _clock() -> Finding:
    state = read_clock_state()
    # Of a clock that nothing steers the kernel's figure stops at 16 s, which bounds nothing.
    error_s = state.error_s_max if state.synchronised else None
    return Finding(
        "clock",
        state.synchronised,
        ("synchronised" if state.synchronised else "not synchronised")
        + ("" if error_s is None else f", error at most {format_ms(error_s)} ms"),
        "round trips need no synchronised clock; one-way delays and windows do",
        figures={"error": error_s},
    )


def _privileges() -> Iterator[Finding]:
    first = _read_number("/proc/sys/net/ipv4/ip_unprivileged_port_start", 1024)
    bind = first <= _STAMP_PORT or bool(_capabilities() >> _CAP_NET_BIND_SERVICE & 1)
    yield Finding(
        f"port {_STAMP_PORT}",
        bind,
        "may be bound" if bind else "needs CAP_NET_BIND_SERVICE",
        "" if bind else f"netslo reflect --listen HOST:PORT with a port from {first} works",
    )
    for what, kind, lacking in (
        ("raw sockets", socket.SOCK_RAW, "needs CAP_NET_RAW"),
        ("ping sockets", socket.SOCK_DGRAM, "this group is not in net.ipv4.ping_group_range"),
    ):
        good = _works(partial(_opens_icmp, kind))
        yield Finding(what, good, "may be opened" if good else lacking, "STAMP needs none")


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


def _extras() -> Iterator[Finding]:
    for extra, distributions in _EXTRAS.items():
        missing = [name for name in distributions if not _is_installed(name)]
        yield Finding(
            f"netslo[{extra}]",
            not missing,
            f"lacks {', '.join(missing)}" if missing else "installed",
            f"pip install 'netslo[{extra}]'" if missing else "",
        )


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def _numba() -> Finding:
    """Load the kernels, and say where numba keeps what it compiled."""
    if not _kernels.load():
        off = os.environ.get("NETSLO_NUMBA") == "0"
        found = "switched off by NETSLO_NUMBA=0" if off else "not installed, or does not load"
        return Finding("numba", good=False, found=found, meaning="numpy counts instead, slower")
    place = _kernels.cache_folder()
    return Finding(
        "numba",
        place is not None,
        f"kernels are kept in {place}" if place else "kernels are kept nowhere",
        "" if place else "each start compiles anew; NUMBA_CACHE_DIR names a folder for them",
    )
