"""This host's own part in what it measures: a self-test over loopback, where no network is.

A reflector and an engine of our own, as `netslo probe` and `netslo reflect` use them. What they
find is time that belongs to the host; nothing measured here can be told from it.
"""

from __future__ import annotations

import math
import threading
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from analytics.figures import could_be_floor
from analytics.summary import distribution, exact_distribution
from analytics.windows import PathWindow, SeriesKey
from netslo.errors import NetsloError
from netslo.model import NS_PER_S, Endpoint, Path, Quality, Window
from probes.address import resolve
from probes.channel import Report
from probes.engine import Engine
from probes.engines import MeasuringEngine, new_engine
from probes.reflector import ReflectorServer
from probes.session import SessionPlan
from probes.stamp.rate_limit import RateLimit

SECONDS: Final = 4.0  # at RATE, the shortest that bounds P99.9 on both sides is 3.7 s
RATE: Final = 1000.0
QUANTILES: Final = (0.5, 0.9, 0.99, 0.999)
_SECONDS_MAX: Final = 600.0
_RATE_MAX: Final = 10_000.0
_STOP_POLL_S: Final = 0.1
_TIMEOUT_NS: Final = NS_PER_S // 2
_LOOPBACK: Final = ("127.0.0.1", "::1")
_KEY: Final = SeriesKey(Path("here", "here", "self-test"))  # of no estate; published nowhere
_ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Figure:
    """A percentile with its 95 % interval, seconds; None is what the samples cannot say."""

    value: float | None = None
    low: float | None = None
    high: float | None = None

    def to_json(self) -> dict[str, float | None]:
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """What a self-test found. Times in seconds; percentiles by their quantile, as text.

    `rtt` is of the samples of class `quality` alone, the one with most samples: classes never
    mix. `lateness` is how long after their due times packets left.
    """

    seconds: float
    rate: float
    compiled: bool  # the fast engine measured
    due: int
    answered: int
    lost: int  # sent and not answered
    unmeasured: int  # not sent
    samples: Mapping[Quality, int]
    rtt: Mapping[str, Figure]
    lateness: Mapping[str, Figure]
    discarded: Mapping[str, int]  # by reason

    @property
    def quality(self) -> Quality | None:
        """The class of most samples, in doubt the better one; None without any."""
        best = max(Quality, key=lambda quality: self.samples.get(quality, 0))
        return best if self.samples.get(best, 0) else None

    @property
    def count(self) -> int:
        """The samples which `rtt` is of."""
        return 0 if self.quality is None else self.samples[self.quality]

    @property
    def lost_in_prober(self) -> int:
        """Packets that came to nothing: there is no network here that could have lost them."""
        return self.lost + self.unmeasured

    @property
    def figures(self) -> dict[str, float | None]:
        """The percentiles of the round trip without their intervals, as health reports them."""
        return {q: figure.value for q, figure in self.rtt.items()}

    @property
    def bounds(self) -> dict[str, float | None]:
        """The upper ends of the percentiles' intervals, or the figures where there is none."""
        return {q: each.value if each.high is None else each.high for q, each in self.rtt.items()}

    def explains(self, quantile: str, value_s: float | None) -> bool | None:
        """Whether a percentile measured elsewhere could be this host's doing; None: unknown."""
        return could_be_floor(value_s, self.bounds.get(quantile))

    def to_json(self) -> dict[str, Any]:
        """Return the stable shape of `doctor --json`; what is not known is null."""
        return {
            "seconds": self.seconds,
            "rate": self.rate,
            "engine": "compiled" if self.compiled else "plain",
            "due": self.due,
            "answered": self.answered,
            "lost": self.lost,
            "unmeasured": self.unmeasured,
            "lost_in_prober": self.lost_in_prober,
            "quality": None if self.quality is None else self.quality.value,
            "count": self.count,
            "samples": {quality.value: self.samples.get(quality, 0) for quality in Quality},
            "rtt": {q: figure.to_json() for q, figure in self.rtt.items()},
            "lateness": {q: figure.to_json() for q, figure in self.lateness.items()},
            "discarded": dict(self.discarded),
        }


def measure_noise_floor(
    *, seconds: float = SECONDS, rate: float = RATE, stop: threading.Event | None = None
) -> NoiseFloor:
    """Measure ourselves over loopback; takes `seconds`, and a bit more for the last answers.

    From any thread. It uses a free port of loopback, threads that have ended when it returns,
    and about a tenth of a processor at 1,000 packets/s; nothing of it is published.

    Args:
        seconds: How long packets are sent, 600 s at most.
        rate: Packets per second, 10,000 at most.
        stop: When it is set, figures are of what was measured until then.

    Raises:
        ValueError: an argument is out of its range.
        NetsloError: this host lets nobody measure; the message says why.
    """
    if not (0 < seconds <= _SECONDS_MAX and 0 < rate <= _RATE_MAX and seconds * rate >= 1):
        raise ValueError(f"cannot measure {seconds} s at {rate} packets/s")
    try:
        with _reflecting(rate) as endpoint:
            return _measure(endpoint, seconds, rate, stop or threading.Event())
    except OSError as error:
        raise NetsloError(f"the self-test cannot run: {error.strerror or error}") from error


@contextmanager
def _reflecting(rate: float) -> Iterator[Endpoint]:
    """Answer on a free port of loopback meanwhile."""
    limit = RateLimit(2 * rate + 1000, round(2 * rate) + 1000)
    stop = threading.Event()
    with _server(limit) as server:
        thread = threading.Thread(target=server.run, args=(stop,), name="self-test", daemon=True)
        thread.start()
        try:
            yield server.endpoints[0]
        finally:
            stop.set()
            thread.join()


def _server(limit: RateLimit) -> ReflectorServer:
    """Return a reflector at the first address of loopback that this host has."""
    *others, last = _LOOPBACK
    for host in others:
        try:
            return ReflectorServer([Endpoint(host, 0)], rate_limit=limit)
        except (NetsloError, OSError):
            continue
    return ReflectorServer([Endpoint(last, 0)], rate_limit=limit)


class _Findings:
    """What the engine reports, gathered."""

    def __init__(self) -> None:
        self.total = PathWindow(_KEY, Window(0))
        self.late_s = array("d")
        self.discarded: Counter[str] = Counter()

    def take_in(self, reports: Mapping[str, Report]) -> None:
        for report in reports.values():
            for window in report.windows:
                self.total.absorb(window)
            self.late_s.extend(report.lateness_s)
            self.discarded += report.discarded


def _measure(endpoint: Endpoint, seconds: float, rate: float, stop: threading.Event) -> NoiseFloor:
    findings = _Findings()
    engine = new_engine(findings.take_in)
    plan = SessionPlan(_KEY, round(NS_PER_S / rate), _TIMEOUT_NS)
    engine.measure(plan, resolve(endpoint), phase_ns=0, count=round(seconds * rate))
    with _stopping(engine, stop):
        engine.run()
    total = findings.total
    rtt = distribution(total.rtt(), QUANTILES)
    late_s: NDArray[np.float64] = np.array(findings.late_s)
    packets = total.packets
    return NoiseFloor(
        seconds=seconds,
        rate=rate,
        compiled=not isinstance(engine, Engine),
        due=packets.due,
        answered=packets.answered,
        lost=packets.lost,
        unmeasured=packets.unmeasured,
        samples=total.samples(),
        rtt=figures_of(rtt),
        lateness=figures_of(exact_distribution(late_s, QUANTILES)),
        discarded=dict(findings.discarded),
    )


@contextmanager
def _stopping(engine: MeasuringEngine, stop: threading.Event) -> Iterator[None]:
    """Pass on that an event is set."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            if stop.wait(_STOP_POLL_S):
                engine.stop()
                return

    thread = threading.Thread(target=watch, name="self-test stop", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def figures_of(shape: Mapping[str, Any]) -> dict[str, Figure]:
    """Return the percentiles of a distribution (`analytics.summary`) as far as they can be said.

    Of a percentile beyond which not even one sample is to be expected, nothing can: the largest
    of 200 values is no P99.9.
    """
    figures = {}
    for name, found in shape["quantiles"].items():
        q = float(name)
        enough = math.isfinite(q) and shape["count"] * (1 - q) >= 1 - _ROUNDING
        figures[name] = Figure(**found) if enough else Figure()
    return figures
