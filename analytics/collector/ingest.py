"""From requests' bodies to committed batches; all of it in one thread, the writer's.

A body of one plain batch, as our probes send it, is read straight into columns and kept as it
came. Whatever is not plain takes the careful way, which can say what is wrong with each point;
what it accepts is kept in octets of our own making.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from analytics.collector.admission import (
    Reason,
    Refused,
    admit,
    fault_of_told,
    too_old,
    too_young,
)
from analytics.collector.limits import Limits, Refusal
from analytics.collector.state import HealthBoard
from analytics.collector.telemetry import Telemetry
from analytics.frame import Frame
from analytics.otlp import HealthPoint, MalformedRequest, decode_request
from analytics.otlp.compression import IDENTITY, ZSTD, NotDecompressed, TooLarge, decompress
from analytics.otlp.frames import FrameReader, Received
from analytics.store import StoreFull, WindowStore
from analytics.store.arrivals import arrival_of, compressed
from analytics.store.interface import Appended, Arrival
from analytics.streams import About, Events
from analytics.windows import SeriesKey
from netslo.estate import Estate

_T = TypeVar("_T")
_R = TypeVar("_R")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """A body as it came, and its content-encoding."""

    body: bytes
    encoding: str


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


@dataclass(slots=True)
class _Prepared:
    """A request that was understood: what is to be kept of it, and what is not."""

    arrivals: list[Arrival] = field(default_factory=list)
    health: tuple[HealthPoint, ...] = ()
    refused: Refused = field(default_factory=Refused)


class Ingest:
    """Decodes requests and keeps what they hold. Not thread-safe: one thread calls it.

    Listeners hear, once, of the points of each batch that was committed.
    """

    def __init__(
        self,
        store: WindowStore,
        estate: Estate,
        limits: Limits,
        telemetry: Telemetry,
        health: HealthBoard,
        clock: Callable[[], float],
        listeners: Sequence[Callable[[Frame], None]] = (),
    ) -> None:
        self.state = WriterState()
        self._store = store
        self._estate = estate
        self._limits = limits
        self._telemetry = telemetry
        self._health = health
        self._listeners = listeners
        self._clock = clock
        self._reader = FrameReader(store.streams, self._knows)

    def take_all(self, requests: Sequence[Request]) -> list[Receipt | Exception]:
        """Decode bodies and commit what they hold, together; then each of it is durable.

        Returns a receipt for each request, or why nothing, or not all, of it was kept: a
        `Refusal`, whose status says whether to send it again, or a mistake of ours. Sending
        again is always safe.
        """
        now_s = self._clock()
        prepared = [self._caught(self._prepare, request, now_s) for request in requests]
        good = [each for each in prepared if isinstance(each, _Prepared)]
        outcome = self._caught(self._commit, good, now_s)
        if isinstance(outcome, Exception) and len(good) > 1 and not isinstance(outcome, Refusal):
            # One of them is to blame: the others shall not suffer for it.
            return [self.take_all([request])[0] for request in requests]
        done: Iterator[Receipt | Exception] = (
            itertools.repeat(outcome) if isinstance(outcome, Exception) else iter(outcome)
        )
        return [next(done) if isinstance(each, _Prepared) else each for each in prepared]

    def maintain(self) -> None:
        """Compact and expire; finds out whether a full disk has room again."""
        self._store.maintain(self._clock())

    def _caught(self, work: Callable[[_T, float], _R], what: _T, now_s: float) -> _R | Exception:
        try:
            return work(what, now_s)
        except Refusal as refusal:
            return refusal
        except StoreFull as error:
            if not self.state.full:
                _log.error("%s: windows are refused until it has room; probes keep them", error)
            self.state.full = True
            return Refusal(503, str(error), self._limits.full_retry_after_s)
        except Exception as error:  # noqa: BLE001 - it goes to who asked, and to /healthz
            self.state.trouble = f"{type(error).__name__}: {error}"
            return error

    def _prepare(self, request: Request, now_s: float) -> _Prepared:
        plain = _decompressed(request, self._limits.decompressed_bytes_max)
        received = self._reader.read(plain)
        if received is not None and self._plausible(received, now_s):
            return _Prepared([_arrival(received, request)])
        return self._prepare_carefully(plain, now_s)

    def _prepare_carefully(self, plain: bytes, now_s: float) -> _Prepared:
        try:
            decoded = decode_request(plain, self._limits.request)
        except MalformedRequest as error:
            raise Refusal(400, str(error)) from error
        prepared = _Prepared(health=decoded.health)
        for rejection in decoded.rejected:
            prepared.refused.add(Reason.MALFORMED, rejection.points, rejection.reason)
        for batch in decoded.batches:
            admitted = admit(batch, self._estate, self._limits, now_s, prepared.refused)
            windows = []
            for window in admitted.windows:
                if self._has_room(window.key, window.slo):
                    windows.append(window)
                else:
                    prepared.refused.add_windows(Reason.OBJECTIVES, [window])
            if windows or admitted.told:
                kept = replace(admitted, windows=tuple(windows))
                prepared.arrivals.append(arrival_of(kept, self._store.streams))
        return prepared

    def _plausible(self, received: Received, now_s: float) -> bool:
        """Whether all that is in a batch is certainly what `admit` lets through."""
        first_s, end_s = received.frame.span()
        if received.frame.points and (
            too_young(end_s, self._limits, now_s) or too_old(first_s, self._limits, now_s)
        ):
            return False
        return received.total <= self._limits.count_max and all(
            fault_of_told(received.site, told, self._estate, self._limits, now_s) is None
            for told in received.told
        )

    def _knows(self, site: str, series: SeriesKey, about: About) -> bool:
        """Whether a probe at `site` may speak of a stream; other people's tools name no site."""
        own = not site or (site in self._estate.sites and site == series.path.src)
        if not (own and self._estate.knows(series.path)):
            return False
        return not isinstance(about, Events) or self._has_room(series, {about.slo})

    def _has_room(self, series: SeriesKey, slos: Collection[str]) -> bool:
        """Whether a series may have these objectives, too; their number is bounded for ever."""
        known = self._store.streams.objectives(series)
        return len(known.union(slos)) <= self._limits.request.slos_per_series_max

    def _commit(self, prepared: Sequence[_Prepared], now_s: float) -> list[Receipt]:
        arrivals = [arrival for each in prepared for arrival in each.arrivals]
        if arrivals:
            began_s = time.perf_counter()
            results = iter(self._store.append_all(arrivals, now_s))
            self._telemetry.commit_seconds.observe(time.perf_counter() - began_s)
            self._telemetry.last_commit.set(now_s)
            self.state.last_commit_s = now_s
            if self.state.full:
                _log.warning("the store's disk has room again")
            self.state.full, self.state.trouble = False, None
        for each in prepared:
            for arrival in each.arrivals:
                self._note(arrival, next(results), each.refused)
            self._note_health(each.health, now_s, each.refused)
            for reason, points in each.refused.points.items():
                self._telemetry.refused(reason, points)
        return [Receipt(each.refused.total, each.refused.message) for each in prepared]

    def _note(self, arrival: Arrival, appended: Appended, refused: Refused) -> None:
        if appended.duplicate:
            self._telemetry.duplicate_batches.inc()
            return
        self._telemetry.windows.inc(appended.windows)
        if appended.expired:
            refused.add(Reason.EXPIRED, appended.expired_points)
        for listener in self._listeners:
            listener(arrival.frame)

    def _note_health(self, points: Iterable[HealthPoint], now_s: float, refused: Refused) -> None:
        for point in points:
            if point.site in self._estate.sites:
                self._health.note(point, now_s)
            else:
                refused.add(Reason.UNKNOWN_SITE, 1)


def _decompressed(request: Request, bytes_max: int) -> bytes:
    try:
        return decompress(request.body, request.encoding, bytes_max)
    except TooLarge as error:
        raise Refusal(413, str(error)) from error
    except NotDecompressed as error:
        raise Refusal(400, str(error)) from error


def _arrival(received: Received, request: Request) -> Arrival:
    """Keep the body as it came; one that came uncompressed shall not fill the disk."""
    body, encoding = request.body, request.encoding
    if encoding == IDENTITY:
        body, encoding = compressed(body), ZSTD
    return Arrival(
        received.site,
        received.instance,
        received.sequence,
        received.frame,
        body,
        encoding,
        received.told,
    )
