"""What probes of several tests are allowed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from netslo.model import NS_PER_S
from probes.device_clock import ADD, ASK, DEVICE, HARDWARE_FLAGS


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no packet be given up because this machine is busy."""
    monkeypatch.setattr("probes.schedule.LATE_TOLERANCE_NS", 10_000_000_000)


@pytest.fixture
def device_stamps_used() -> Iterator[None]:
    """Device stamps are used, of a device whose clock stands 37 s before ours."""
    DEVICE[ASK], DEVICE[ADD] = HARDWARE_FLAGS, -37 * NS_PER_S
    yield
    DEVICE[ASK] = DEVICE[ADD] = 0
