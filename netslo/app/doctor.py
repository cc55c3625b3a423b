"""What this host can measure with: each finding is tried, not assumed."""

from __future__ import annotations

import os
import pathlib
import platform
import socket
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any, Final

from netslo import __version__
from netslo.errors import NetsloError
from netslo.model import Endpoint
from netslo.units import format_ms
from probes.clock import read_clock_state
from probes.measure import MeasurePlan, Measuring
from probes.reflector import ReflectorServer
from probes.sockets import enable_timestamps, read_datagram

_LOOPBACK: Final = "127.0.0.1"
_SO_TIMESTAMPING: Final = 37
_TX_SOFTWARE, _RX_SOFTWARE, _SOFTWARE = 1 << 1, 1 << 3, 1 << 4
_CAP_NET_BIND_SERVICE, _CAP_NET_RAW = 10, 13
_STAMP_PORT: Final = 862
_SELF_TEST_PACKETS: Final = 200
_SELF_TEST_INTERVAL_S: Final = 0.005

_EXTRAS: Final = {
    "probe": ("aiohttp", "opentelemetry", "tenacity", "zstandard", "scapy"),
    "analytics": ("aiohttp", "numba", "opentelemetry", "prometheus_client", "zstandard"),
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
    """Look at everything; takes about two seconds, most of it the self-test."""
    return [
        Finding(
            "netslo",
            good=True,
            found=f"{__version__}, Python {platform.python_version()}, Linux {platform.release()}",
            meaning="",
        ),
        _receive_timestamps(),
        _transmit_timestamps(),
        _self_test(),
        _clock(),
        *_privileges(),
        *_extras(),
        _kernels(),
    ]


def _receive_timestamps() -> Finding:
    """Send a datagram to ourselves and see whether the kernel stamps it."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        enable_timestamps(receiver)
        receiver.bind((_LOOPBACK, 0))
        receiver.settimeout(1)
        sender.sendto(b"netslo", receiver.getsockname())
        datagram = read_datagram(receiver)
    good = datagram is not None and datagram.received_ns is not None
    return Finding(
        "kernel receive timestamps",
        good,
        "SO_TIMESTAMPNS works" if good else "SO_TIMESTAMPNS does not work",
        "T2 and T4 do not contain this host's scheduling"
        if good
        else "T2 and T4 are read in user space: a busy host looks like a slow network",
    )


def _transmit_timestamps() -> Finding:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        flags = _TX_SOFTWARE | _RX_SOFTWARE | _SOFTWARE
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING, flags)
            good = True
        except OSError:
            good = False
    return Finding(
        "kernel transmit timestamps",
        good,
        "SO_TIMESTAMPING offered" if good else "SO_TIMESTAMPING refused",
        "not used yet: T1 and T3 are read in user space, so samples are of quality C",
    )


def _self_test() -> Finding:
    """Measure ourselves over loopback: nothing measured here can be finer than that."""
    stop = threading.Event()
    try:
        server = ReflectorServer([Endpoint(_LOOPBACK, 0)])
    except NetsloError as error:
        return Finding("noise floor", good=False, found=str(error), meaning="", needed=True)
    thread = threading.Thread(target=server.run, args=(stop,), daemon=True)
    thread.start()
    plan = MeasurePlan(
        server.endpoints[0],
        count=_SELF_TEST_PACKETS,
        interval_s=_SELF_TEST_INTERVAL_S,
        timeout_s=1.0,
    )
    result = Measuring(plan).run(lambda: None)
    stop.set()
    thread.join()
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


def _clock() -> Finding:
    state = read_clock_state()
    error_s = state.error_s_max
    return Finding(
        "clock",
        state.synchronised,
        ("synchronised" if state.synchronised else "not synchronised")
        + ("" if error_s is None else f", error at most {format_ms(error_s)} ms"),
        "round trips need no synchronised clock; one-way delays and windows do",
        figures={"error": error_s},
    )


def _privileges() -> Iterator[Finding]:
    capabilities = _capabilities()
    first = _read_number("/proc/sys/net/ipv4/ip_unprivileged_port_start", 1024)
    bind = bool(capabilities >> _CAP_NET_BIND_SERVICE & 1) or first <= _STAMP_PORT
    yield Finding(
        f"port {_STAMP_PORT}",
        bind,
        "may be bound" if bind else "needs CAP_NET_BIND_SERVICE",
        "" if bind else "netslo reflect --listen HOST:PORT with a port from 1024 works",
    )
    raw = bool(capabilities >> _CAP_NET_RAW & 1)
    yield Finding(
        "raw sockets",
        raw,
        "CAP_NET_RAW" if raw else "no CAP_NET_RAW",
        "STAMP needs none",
    )


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
    for extra, modules in _EXTRAS.items():
        missing = [module for module in modules if find_spec(module) is None]
        yield Finding(
            f"netslo[{extra}]",
            not missing,
            f"lacks {', '.join(missing)}" if missing else "installed",
            f"pip install 'netslo[{extra}]'" if missing else "",
        )


def _kernels() -> Finding:
    """Say whether numba is here, and where it keeps what it compiled."""
    if find_spec("numba") is None:
        return Finding(
            "numba", good=False, found="not installed", meaning="numpy counts instead, slower"
        )
    import analytics

    cache = os.environ.get("NUMBA_CACHE_DIR")
    place = pathlib.Path(cache or pathlib.Path(analytics.__file__).parent)
    writable = os.access(place, os.W_OK)
    return Finding(
        "numba",
        writable,
        f"kernels are cached {'in NUMBA_CACHE_DIR' if cache else 'beside the package'}"
        if writable
        else "its cache beside the package cannot be written",
        "" if writable else "set NUMBA_CACHE_DIR, or each start compiles anew",
    )
