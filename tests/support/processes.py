"""Which processes are still there, and what they said."""

from __future__ import annotations

import os
import pathlib
import re
import time

_COMPILING = re.compile(r"compiling |they are ready after|kernels are ready after")


def is_running(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return " Z " not in pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    except FileNotFoundError:
        return False


def wait_gone(pids: list[int], timeout_s: float = 60.0) -> list[int]:
    """Return which of the processes are still there after a while."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and any(map(is_running, pids)):
        time.sleep(0.05)
    return [pid for pid in pids if is_running(pid)]


def pids_of_group(group: int) -> list[int]:
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.getpgid(int(entry.name)) == group:
                    found.append(int(entry.name))
            except ProcessLookupError:
                continue
    return found


def complaints(errors: str) -> list[str]:
    """Return the lines of standard error, without those about kernels that are compiled first."""
    return [line for line in errors.splitlines() if not _COMPILING.match(line)]
