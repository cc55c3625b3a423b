"""From a request's body to a committed batch; all of it in one thread, the writer's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from analytics.collector.admission import Reason, Refused, admit
from analytics.collector.compression import decompress
from analytics.collector.limits import Limits, Refusal
from analytics.collector.state import HealthBoard, LastWindows
from analytics.collector.telemetry import Telemetry
from analytics.otlp import HealthPoint, MalformedRequest, decode_request
from analytics.store import StoreFull, WindowStore
from analytics.windows import Batch
from netslo.estate import Estate


@dataclass(frozen=True, slots=True)
class Receipt:
    """What is acknowledged: everything is durable but the refused data points."""

    refused_points: int
    message: str


@dataclass(slots=True)
class WriterState:
    """How the writer fares, for /healthz. Written by its thread, read by the event loop."""

    last_commit_s: float | None = None
    full: bool = False
    trouble: str | None = None  # a failure that no one expected; the next success clears it


class Ingest:
    """Decodes requests and keeps what they hold. Not thread-safe: one thread calls it."""

    def __init__(
        self,
        store: WindowStore,
        estate: Estate,
        limits: Limits,
        telemetry: Telemetry,
        health: HealthBoard,
        last_windows: LastWindows,
        clock: Callable[[], float],
    ) -> None:
        self.state = WriterState()
        self._store = store
        self._estate = estate
        self._limits = limits
        self._telemetry = telemetry
        self._health = health
        self._last_windows = last_windows
        self._clock = clock

    def take(self, body: bytes, encoding: str) -> Receipt:
        """Decode a body and commit what it holds; when this returns, it is durable.

        Raises:
            Refusal: nothing, or not all, of the request was kept; its status says whether to
                send it again. Sending it again is always safe.
        """
        try:
            return self._take(body, encoding)
        except Refusal:
            raise
        except StoreFull as error:
            self.state.full = True
            raise Refusal(503, str(error), self._limits.full_retry_after_s) from error
        except Exception as error:
            self.state.trouble = f"{type(error).__name__}: {error}"
            raise

    def maintain(self) -> None:
        """Roll up and expire; finds out whether a full disk has room again."""
        self._store.maintain(self._clock())

    def _take(self, body: bytes, encoding: str) -> Receipt:
        plain = decompress(body, encoding, self._limits.decompressed_bytes_max)
        try:
            decoded = decode_request(plain, self._limits.request)
        except MalformedRequest as error:
            raise Refusal(400, str(error)) from error
        now_s = self._clock()
        refused = Refused()
        for rejection in decoded.rejected:
            refused.add(Reason.MALFORMED, rejection.points, rejection.reason)
        self._note_health(decoded.health, now_s, refused)
        for batch in decoded.batches:
            admitted = admit(batch, self._estate, self._limits, now_s, refused)
            if admitted.windows:
                self._commit(admitted, now_s, refused)
        for reason, points in refused.points.items():
            self._telemetry.refused(reason, points)
        return Receipt(refused.total, refused.message)

    def _note_health(self, points: Iterable[HealthPoint], now_s: float, refused: Refused) -> None:
        for point in points:
            if point.site in self._estate.sites:
                self._health.note(point, now_s)
            else:
                refused.add(Reason.UNKNOWN_SITE, 1)

    def _commit(self, batch: Batch, now_s: float, refused: Refused) -> None:
        began_s = time.perf_counter()
        appended = self._store.append(batch, now_s)
        self._telemetry.commit_seconds.observe(time.perf_counter() - began_s)
        self._telemetry.last_commit.set(now_s)
        self.state.last_commit_s = now_s
        self.state.full, self.state.trouble = False, None
        if appended.duplicate:
            self._telemetry.duplicate_batches.inc()
            return
        self._telemetry.windows.inc(appended.windows)
        by_age = sorted(batch.windows, key=lambda window: window.window)
        expired, kept = by_age[: appended.expired], by_age[appended.expired :]
        refused.add_windows(Reason.EXPIRED, expired)
        self._last_windows.note(kept)
