"""The clock of leases: it stands still for nothing, and every process of a host reads the same."""

from __future__ import annotations

import pathlib
import time
from typing import Final

_BOOT_ID: Final = pathlib.Path("/proc/sys/kernel/random/boot_id")


def now_s() -> float:
    """Return seconds since the host's start, those asleep included (CLOCK_BOOTTIME)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Return which start of the host this is; "" where the kernel does not tell."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
