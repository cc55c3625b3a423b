"""What must be so before any test begins."""

from __future__ import annotations

import os
import pathlib

import pytest
from lab import wan as emulator
from lab.namespaces import Namespace

from probes.warm_up import load_measuring, load_reflecting, warm_up

# Programs that tests start import what is installed, never the source tree beside: that is what
# is tested, and its kernels are compiled already.
os.environ["PYTHONSAFEPATH"] = "1"

_COMPILED = {"probes", "lab", "app"}  # folders of tests that run the compiled loops


def pytest_collection_finish(session: pytest.Session) -> None:
    """Compile the loops once per machine: on a busy one it takes longer than a test may.

    Commands that tests start find them ready too, and have no need to say that they compile.
    """
    folders = {pathlib.Path(item.path).parent.name for item in session.items}
    if session.config.option.collectonly or not folders & _COMPILED:
        return
    for load in (load_measuring, load_reflecting):
        warm_up(load)
    if folders & {"probes", "lab"} and emulator.available() is None:
        with Namespace("a") as a, Namespace("b") as b, emulator.Wan(a, b):
            pass
