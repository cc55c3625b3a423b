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
    """Begin with the files that mostly wait, so that workers side by side end together."""
    waiting = {item.path for item in items if item.get_closest_marker("waits")}
    items.sort(key=lambda item: item.path not in waiting)


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Hold off the other workers of this user for the block."""
    with (pathlib.Path(tempfile.gettempdir()) / f"netslo-tests-{os.getuid()}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def pytest_collection_finish(session: pytest.Session) -> None:
    """Compile the loops once per machine: on a busy one it takes longer than a test may.

    Commands that tests start find them ready too, and have no need to say that they compile.
    """
    folders = {pathlib.Path(item.path).parent.name for item in session.items}
    if session.config.option.collectonly or not folders & _COMPILED:
        return
    with _one_at_a_time():
        for load in (load_measuring, load_reflecting):
            warm_up(load)
        if folders & {"probes", "lab"} and emulator.available() is None:
            with Namespace("a") as a, Namespace("b") as b, emulator.Wan(a, b):
                pass
