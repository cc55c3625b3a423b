"""One exchange with a service: its parts, how long each took, and how it ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from netslo.model import NS_PER_S
from netslo.service import Phase, ServiceResult


class Failed(Exception):
    """An exchange ended as no user of the service would want it."""

    def __init__(self, result: ServiceResult, detail: str = "") -> None:
        super().__init__(result.value, detail)
        self.result = result
        self.detail = detail


class NotTried(Exception):
    """This host could not begin the exchange: it says nothing of the service."""


class Stopwatch:
    """How long the phases take, one after the other; what is entered twice adds up."""

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self.phase: Phase | None = None
        self.spans_ns: dict[Phase, int] = {}
        self._clock = clock
        self.started_ns = self._since_ns = clock()

    @property
    def elapsed_s(self) -> float:
        """Since the start."""
        return (self._clock() - self.started_ns) / NS_PER_S

    def enter(self, phase: Phase) -> None:
        """Let a phase begin where the one before ends; the first begins at the start."""
        if self.phase is not None:
            self._since_ns = self._stop()
        self.phase = phase

    def end(self) -> int:
        """End the last phase, and return how long the whole took."""
        ended_ns = self._stop()
        self.phase = None
        return ended_ns - self.started_ns

    def _stop(self) -> int:
        now_ns = self._clock()
        if self.phase is not None:
            span_ns = self.spans_ns.get(self.phase, 0)
            self.spans_ns[self.phase] = span_ns + now_ns - self._since_ns
        return now_ns


@dataclass(frozen=True, slots=True)
class Exchange:
    """What came of one request. `result` is None where this host could not even try."""

    result: ServiceResult | None
    detail: str = ""  # for a person
    total_ns: int = 0
    spans_ns: dict[Phase, int] = field(default_factory=dict)
    certificate_expires_s: int | None = None  # Unix time

    @property
    def good(self) -> bool:
        return self.result is ServiceResult.OK
