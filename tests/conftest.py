"""What must be so before any test begins."""

from __future__ import annotations

import fcntl
import os
import pathlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, settings
from lab import wan as emulator
from lab.namespaces import Namespace

from probes.warm_up import load_measuring, load_reflecting, warm_up

# Programs that tests start import what is installed, never the source tree beside: that is what
# is tested, and its kernels are compiled already.
os.environ["PYTHONSAFEPATH"] = "1"

# How long an example takes is the machine's business, and what else it does.
settings.register_profile(
    "any machine",
    settings(),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize="HYPOTHESIS_DERANDOMIZE" in os.environ,
)
settings.load_profile("any machine")

_COMPILED = {"probes", "lab", "app"}  # folders of tests that run the compiled loops


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that mostly wait, each beside two that compute.

    So workers side by side keep the machine busy from the first, and end together.
    """
    waiting = {item.path for item in items if item.get_closest_marker("waits")}
    places: dict[pathlib.Path, float] = {}
    for path in dict.fromkeys(item.path for item in items):
        before = sum((other in waiting) == (path in waiting) for other in places)
        places[path] = before if path in waiting else before / 2
    items.sort(key=lambda item: places[item.path])


@contextmanager
def _once_in_a_run() -> Iterator[bool]:
    """Hold off the other workers of this user for the block; whether none of this run was in it."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    # What is compiled with checks is kept nowhere: nobody has to wait for it.
    name = f"netslo-tests-{os.getuid()}" + "-checked" * ("NUMBA_BOUNDSCHECK" in os.environ)
    with (pathlib.Path(tempfile.gettempdir()) / name).open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.seek(0)
        first = lock.read() != run
        yield first
        lock.truncate(0)
        lock.write(run)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Compile the loops once per machine: on a busy one it takes longer than a test may.

    Commands that tests start find them ready too, and have no need to say that they compile.
    """
    folders = {pathlib.Path(item.path).parent.name for item in session.items}
    if session.config.option.collectonly or not folders & _COMPILED:
        return
    with _once_in_a_run() as first:
        if first:
            _load()
            if any(map(_emulates, session.items)) and emulator.available() is None:
                with Namespace("a") as a, Namespace("b") as b, emulator.Wan(a, b):
                    pass
    _load()  # what another worker has compiled takes long enough, on a busy machine


def _emulates(item: pytest.Item) -> bool:
    return "wan" in getattr(item, "fixturenames", ()) or item.path.parent.name == "lab"


def _load() -> None:
    for load in (load_measuring, load_reflecting):
        warm_up(load)
