"""What is installed, and where compiled kernels are kept."""

from __future__ import annotations

import os
import pathlib
import platform
from collections.abc import Iterator
from importlib import metadata
from typing import Final

from analytics import _kernels as analytics_kernels
from netslo import __version__
from netslo.app.doctor.finding import Finding
from probes import _kernels as probes_kernels

EXTRAS: Final = {  # distributions, as pyproject.toml has them (a test compares)
    "probe": (
        "aiohttp",
        "dnspython",
        "h11",
        "opentelemetry-exporter-otlp-proto-common",
        "opentelemetry-proto",
        "opentelemetry-sdk",
        "scapy",
        "tenacity",
        "zstandard",
    ),
    "compiled": ("numba", "llvmlite"),
    "analytics": (
        "aiohttp",
        "Jinja2",
        "numba",
        "llvmlite",
        "opentelemetry-proto",
        "prometheus-client",
        "pyarrow",
        "zstandard",
    ),
    "dashboards": ("grafanalib",),
    "preview": ("Jinja2", "plotly"),
}
_WITHOUT: Final = {  # what is missing without an extra, where commands start all the same
    "compiled": "probe and reflector run in the interpreter",
    "preview": "dashboards cannot be previewed",
}


def version() -> Finding:
    """Say what runs here."""
    system = f"{platform.system()} {platform.release()}"
    found = f"{__version__}, Python {platform.python_version()}, {system}"
    return Finding("netslo", good=True, found=found, meaning="")


def extras() -> Iterator[Finding]:
    """Say of each extra whether all its distributions are installed."""
    for extra, distributions in EXTRAS.items():
        missing = [name for name in distributions if not _is_installed(name)]
        yield Finding(
            f"netslo[{extra}]",
            not missing,
            f"lacks {', '.join(missing)}" if missing else "installed",
            _WITHOUT.get(extra, "its commands do not start") if missing else "",
            f"pip install 'netslo[{extra}]'" if missing else "",
        )


def kernels() -> Iterator[Finding]:
    """Load the compiled loops, and say where numba keeps what it compiled."""
    off = os.environ.get("NETSLO_NUMBA") == "0"
    missing = "switched off by NETSLO_NUMBA=0" if off else "numba is missing, or does not load"
    mend = "unset NETSLO_NUMBA" if off else "pip install 'netslo[analytics]'"
    for what, there, place, cost in (
        (
            "measuring loop",
            probes_kernels.available(),
            probes_kernels.cache_folder,
            "the plain engine measures: the same figures, at some 1,000 packets/s",
        ),
        (
            "counting loops",
            analytics_kernels.load(),
            analytics_kernels.cache_folder,
            "numpy counts instead, slower",
        ),
    ):
        if there:
            yield _cached(what, place())
        else:
            yield Finding(what, good=False, found=missing, meaning=cost, mend=mend)


def _cached(what: str, place: pathlib.Path | None) -> Finding:
    return Finding(
        what,
        place is not None,
        f"compiled, kept in {place}" if place else "compiled, kept nowhere",
        "" if place else "each start compiles anew, which takes half a minute",
        "" if place else "export NUMBA_CACHE_DIR=DIR, a folder that this user may write",
    )


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
