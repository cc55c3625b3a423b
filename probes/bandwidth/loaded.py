"""Round trips before and beside a load: by STAMP, or else by the control channel."""

from __future__ import annotations

import threading
import time
from typing import Final, Protocol

from analytics.sketch import Sketch
from netslo.errors import NetsloError
from netslo.model import Endpoint
from probes.bandwidth.client import BandwidthClient
from probes.bandwidth.load import Progress
from probes.bandwidth.result import LoadedLatency
from probes.bandwidth.throughput import WARM_UP_S
from probes.measure import MeasurePlan, Measuring

IDLE_S: Final = 4.0  # at INTERVAL_S, p99 has an interval
INTERVAL_S: Final = 0.01
STAMP_FRAME: Final = 160  # octets of a packet with its headers, about
_SHARE: Final = 0.005  # of the bottleneck, at most, for these packets
_TIMEOUT_S: Final = 2.0
_PING_S: Final = 0.02
_POLL_S: Final = 0.005
_JOIN_S: Final = _TIMEOUT_S + 5.0

STAMP: Final = "stamp"
CONTROL: Final = "tcp control"


class Companion(Protocol):
    """Measures round trips while something else goes on; in one thread at a time."""

    by: str

    def measure(self, ended: threading.Event) -> tuple[Sketch, int, str | None]:
        """Measure until told: round trips, how many were lost, and the timestamps' quality."""


class StampCompanion:
    """Round trips to a STAMP reflector."""

    by = STAMP

    def __init__(self, reflector: Endpoint, secret: bytes | None, interval_s: float) -> None:
        self._plan = MeasurePlan(
            (reflector,), interval_s=interval_s, timeout_s=_TIMEOUT_S, secret=secret
        )

    def measure(self, ended: threading.Event) -> tuple[Sketch, int, str | None]:
        """Raises NetsloError where nothing can be sent there."""
        measuring = Measuring(self._plan)

        def look() -> None:
            if ended.is_set():
                measuring.stop()

        found = measuring.run(look, _POLL_S).targets[0].total
        quality = None if found.quality is None else found.quality.value
        return found.rtt() or Sketch(), found.packets.lost, quality


class ControlCompanion:
    """Round trips of requests by the control channel: TCP, by this process's clock."""

    by = CONTROL

    def __init__(self, client: BandwidthClient) -> None:
        self._client = client

    def measure(self, ended: threading.Event) -> tuple[Sketch, int, str | None]:
        rtts_s = []
        while not ended.is_set():
            rtts_s.append(self._client.ping())
            ended.wait(_PING_S)
        sketch = Sketch()
        sketch.add(rtts_s)
        return sketch, 0, "C"


def interval_beside(bit_per_s: float | None) -> float:
    """Return how far apart packets are that hardly load a path of such a capacity; seconds."""
    if not bit_per_s:
        return INTERVAL_S
    return max(INTERVAL_S, STAMP_FRAME * 8 / (_SHARE * bit_per_s))


def measure_idle(
    companions: list[Companion], stop: threading.Event
) -> tuple[Companion, LoadedLatency]:
    """Measure the path without load, by the first companion that gets an answer."""
    for companion in companions:
        ended = threading.Event()
        timer = threading.Thread(target=_end_later, args=(ended, stop), daemon=True)
        timer.start()
        try:
            sketch, lost, quality = companion.measure(ended)
        except NetsloError:
            if companion is companions[-1]:
                raise
            continue
        if sketch.count or companion is companions[-1]:
            return companion, LoadedLatency(
                companion.by, idle=sketch, idle_lost=lost, quality=quality
            )
    raise NetsloError("nothing to measure round trips by")


class Beside:
    """Measures round trips in a thread of its own while a load goes on, after its slow start."""

    def __init__(self, companion: Companion, latency: LoadedLatency, progress: Progress) -> None:
        self._companion = companion
        self._latency = latency
        self._progress = progress
        self._ended = threading.Event()
        self._given_up = threading.Event()
        self._watching = threading.Thread(target=self._watch, name="beside, watch", daemon=True)
        self._measuring = threading.Thread(target=self._measure, name="beside", daemon=True)
        self._failure: NetsloError | None = None

    def __enter__(self) -> None:
        self._watching.start()
        self._measuring.start()

    def __exit__(self, *exception: object) -> None:
        self._given_up.set()
        self._measuring.join(_JOIN_S)

    @property
    def failure(self) -> NetsloError | None:
        """Why it ended early, if it did."""
        return self._failure

    def _watch(self) -> None:
        while not (self._progress.ended or self._given_up.is_set()):
            time.sleep(_POLL_S)
        self._ended.set()

    def _measure(self) -> None:
        while not self._progress.begun or time.monotonic() < self._progress.began_s + WARM_UP_S:
            if self._ended.wait(_POLL_S):
                return
        try:
            found = self._companion.measure(self._ended)
        except NetsloError as error:
            self._failure = error
            return
        self._latency.loaded, self._latency.loaded_lost, _ = found


def _end_later(ended: threading.Event, stop: threading.Event) -> None:
    stop.wait(IDLE_S)
    ended.set()
