"""Whether, and in which ways, this host grants a process networks of its own."""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

SEARCH_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
NO_RIGHTS = ("setpriv", "--bounding-set=-sys_admin,-net_admin,-net_raw", "--no-new-privs")

_TRY = "from netslo.app.lab.namespaces import Namespaces as N; N().__enter__().add('x', {})"


@functools.cache
def lack_of_networks(*prefix: str) -> str | None:
    """Return why a process cannot have networks; None if it can.

    Args:
        prefix: How the process is begun; `NO_RIGHTS` for one that is not root.
    """
    for program in ("ip", *prefix[:1]):
        if shutil.which(program, path=SEARCH_PATH) is None:
            return f"no {program}"
    done = subprocess.run(
        [*prefix, sys.executable, "-c", _TRY], capture_output=True, text=True, check=False
    )
    return done.stderr.strip().splitlines()[-1] if done.returncode else None


def require_networks(*prefix: str) -> None:
    """Skip the test where there are none; in CI, where root is at hand, fail without them."""
    reason = lack_of_networks(*prefix)
    if reason is None:
        return
    if os.environ.get("CI") == "true" and not prefix:
        pytest.fail(f"no real link in CI: {reason}")
    pytest.skip(f"no network of our own: {reason}")


def who_holds(namespaces: set[str]) -> set[int]:
    """Return the processes that keep any of these network namespaces (`net:[4026532178]`) alive.

    They are gone with these: a number that is seen later may be that of another namespace.
    """
    found = set()
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            links = [*process.glob("task/*/ns/net"), *process.glob("fd/*")]
            if any(_link(each) in namespaces for each in links):
                found.add(int(process.name))
    return found


def have_names(namespaces: set[str]) -> bool:
    """Whether any of them is mounted somewhere, which would keep it alive."""
    mounts = pathlib.Path("/proc/self/mountinfo").read_text()
    return any(each in mounts for each in namespaces)


def held_by(pid: int) -> set[str]:
    """Return the network namespaces that a process holds, by descriptors."""
    links = (_link(each) for each in pathlib.Path(f"/proc/{pid}/fd").iterdir())
    return {link for link in links if link.startswith("net:[")}


def _link(path: pathlib.Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""
