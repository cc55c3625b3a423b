"""What probes of several tests are allowed."""

from __future__ import annotations

import pytest


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no packet be given up because this machine is busy."""
    monkeypatch.setattr("probes.schedule.LATE_TOLERANCE_NS", 2_000_000_000)
