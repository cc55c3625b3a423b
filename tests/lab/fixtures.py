"""The laboratory as fixtures; a `conftest.py` elsewhere may import them too."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from . import namespaces, routers
from . import wan as emulator
from .link import Link
from .namespaces import Namespace, Pair, veth
from .routers import Diamond
from .wan import Wan

FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
CALM = Link(delay_s=0.010, jitter_s=0.0002, jitter_time_s=0.05)


def require(reason: str | None) -> None:
    """Skip the test for this reason if there is one; in CI, where nothing may skip, fail."""
    if reason is None:
        namespaces.sweep()
    elif os.environ.get("CI") == "true":
        pytest.fail(f"the laboratory cannot run in CI: {reason}")
    else:
        pytest.skip(f"the laboratory cannot run: {reason}")


def require_emulator() -> None:
    """Skip, or fail in CI, where the emulated WAN cannot run."""
    require(emulator.available())


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two namespaces joined by a wire, IPv4 10.77.0.0/30 and IPv6 fd00:77::/64."""
    require(namespaces.available())
    with Namespace("a") as a, Namespace("b") as b:
        yield veth(a, b)


@pytest.fixture
def wan() -> Iterator[Wan]:
    """Two namespaces joined by the emulator, 10 ms each way and no loss; `change` it at will."""
    require(emulator.available())
    with Namespace("a") as a, Namespace("b") as b, Wan(a, b, CALM) as wide_area:
        yield wide_area


@pytest.fixture(scope="module")
def diamond() -> Iterator[Diamond]:
    """Four routers that share load over two branches, for the tests of a file."""
    require(namespaces.available())
    with routers.diamond() as built:
        yield built
