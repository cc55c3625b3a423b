"""What one series counted in one window, and how windows add up.

These objects travel through every floor: a probe closes them, the codec ships them,
the store keeps and merges them. Merging is exact and does not depend on the order.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from analytics.readings import Reading, Told
from analytics.sketch import Sketch
from netslo import metrics
from netslo.metrics import DELAY, DELAY_VARIATION, IPDV, JITTER, RTT
from netslo.model import Path, ProbeKind, Quality, Window
from netslo.route import RouteObservation
from netslo.service import Phase


@dataclass(frozen=True, slots=True, order=True)
class SeriesKey:
    """One path measured by one kind of probe."""

    path: Path
    probe: ProbeKind = ProbeKind.STAMP


FORWARD: Final = "forward"  # from our site to the far one
REVERSE: Final = "reverse"
DIRECTIONS: Final = (FORWARD, REVERSE)

# What followed what among packets next to each other (the states of Gilbert's model).
KEPT: Final = "answered-answered"
BROKE: Final = "answered-lost"
STAYED_LOST: Final = "lost-lost"
MENDED: Final = "lost-answered"
TRANSITION_NAMES: Final = (KEPT, BROKE, STAYED_LOST, MENDED)

# Why one-way delays of a window are not told as facts.
UNSYNCHRONISED: Final = "unsynchronised"  # one of the two clocks does not follow UTC
IMPRECISE: Final = "imprecise"  # the clocks' error is not below every delay
WITHHELD_REASONS: Final = (UNSYNCHRONISED, IMPRECISE)

# Why packets that had an outcome are no evidence, and count as unmeasured.
CAPACITY_TEST: Final = "capacity_test"  # a test of our own loaded what they share
SET_ASIDE_CAUSES: Final = (CAPACITY_TEST,)

# The parts of an exchange with a service, each with a distribution of its own.
PHASES: Final = {
    Phase.DNS: metrics.PHASE_DNS,
    Phase.CONNECT: metrics.PHASE_CONNECT,
    Phase.TLS: metrics.PHASE_TLS,
    Phase.FIRST_BYTE: metrics.PHASE_FIRST_BYTE,
    Phase.TRANSFER: metrics.PHASE_TRANSFER,
}


@dataclass(frozen=True, slots=True, order=True)
class SketchKey:
    """Which distribution of a series a sketch holds; timestamp qualities never mix.

    Delays and their variations are in seconds and have a quality. Loss periods, loss distances
    and reordering extents are in packets and have none.
    """

    metric: str  # of netslo.metrics
    quality: Quality | None = None
    direction: str = ""  # of DIRECTIONS for DELAY and DELAY_VARIATION, else empty


@dataclass(frozen=True, slots=True, order=True)
class CountKey:
    """Which count of a series beside the ledger; `analytics.otlp.instruments` lists them all."""

    metric: str  # of netslo.metrics
    what: str = ""  # a transition, a reason, a DSCP
    direction: str = ""

    def add_to(self, window: PathWindow, value: int) -> None:
        window.counts[self] += value


@dataclass(slots=True)
class PacketCounts:
    """The ledger of a window: due = answered + lost + unmeasured, always.

    Duplicates (RFC 5560) and reorderings (RFC 4737) are counted beside.
    """

    answered: int = 0
    lost: int = 0
    unmeasured: int = 0
    duplicates: int = 0
    reordered: int = 0

    @property
    def due(self) -> int:
        return self.answered + self.lost + self.unmeasured

    def add(self, other: PacketCounts) -> None:
        self.answered += other.answered
        self.lost += other.lost
        self.unmeasured += other.unmeasured
        self.duplicates += other.duplicates
        self.reordered += other.reordered


@dataclass(slots=True)
class SloCounts:
    """Events of one objective, judged by the probe at the exact threshold."""

    good: int = 0
    bad: int = 0
    unmeasured: int = 0

    @property
    def events(self) -> int:
        """Valid events: good + bad. Unmeasured ones are never events."""
        return self.good + self.bad

    def add(self, other: SloCounts) -> None:
        self.good += other.good
        self.bad += other.bad
        self.unmeasured += other.unmeasured


# Of a window; not sums. The latest counts.
STATES: Final = (
    "interarrival_jitter_s",
    "delay_error_s",
    "clock_offset_s",
    "clock_offset_error_s",
)


@dataclass(slots=True)
class PathWindow:
    """Everything one series counted in one window.

    `counts` are those beside the ledger: of directions, bursts, marks and clocks; what is not
    there is 0. docs/metrics.md defines every one.

    The last four are states, not sums, so a merge keeps the later window's: the RFC 3550 estimate
    where the window ended (None if fewer than two answers came), how far any one-way delay may be
    off by the clocks' own words (None unless both follow UTC), the far clock minus ours, and how
    far that may be off.
    """

    key: SeriesKey
    window: Window
    packets: PacketCounts = field(default_factory=PacketCounts)
    sketches: dict[SketchKey, Sketch] = field(default_factory=dict)
    slo: dict[str, SloCounts] = field(default_factory=dict)
    interarrival_jitter_s: float | None = None
    counts: Counter[CountKey] = field(default_factory=Counter)
    delay_error_s: float | None = None
    clock_offset_s: float | None = None
    clock_offset_error_s: float | None = None

    def absorb(self, other: PathWindow) -> None:
        """Add the counts of another window of the same series; `self.window` stays.

        Raises:
            ValueError: `other` is of another series.
        """
        if other.key != self.key:
            raise ValueError(f"cannot merge {other.key} into {self.key}")
        self.packets.add(other.packets)
        for key, sketch in other.sketches.items():
            mine = self.sketches.get(key)
            if mine is None:
                self.sketches[key] = sketch.copy()
            else:
                mine.merge(sketch)
        for slo, counts in other.slo.items():
            self.slo.setdefault(slo, SloCounts()).add(counts)
        self.counts.update(other.counts)
        for state in STATES:
            told = getattr(other, state)
            later = other.window.end_s >= self.window.end_s
            if told is not None and (later or getattr(self, state) is None):
                setattr(self, state, told)

    def samples(self, metric: str = RTT, direction: str = "") -> dict[Quality, int]:
        """The samples of a metric by the quality of their timestamps, every class."""
        keys = {quality: SketchKey(metric, quality, direction) for quality in Quality}
        found = {quality: self.sketches.get(key) for quality, key in keys.items()}
        return {quality: 0 if each is None else each.count for quality, each in found.items()}

    @property
    def quality(self) -> Quality | None:
        """The class which figures are of: that of most samples, in doubt the better one.

        The best class of all would do for one sample what the other thousand say.
        None without answers.
        """
        return self._leading(RTT)

    def rtt(self) -> Sketch | None:
        """The round-trip times of class `quality` alone; None without answers."""
        return self._of_leading(RTT)

    def jitter(self) -> Sketch | None:
        """The RFC 5481 packet delay variation of its own leading class."""
        return self._of_leading(JITTER)

    def ipdv(self) -> Sketch | None:
        """The RFC 3393 variation, signed, of its own leading class."""
        return self._of_leading(IPDV)

    def delay(self, direction: str) -> Sketch | None:
        """The one-way delays of their leading class; None where they are no facts."""
        return self._of_leading(DELAY, direction)

    def delay_variation(self, direction: str) -> Sketch | None:
        """The one-way RFC 5481 variation, which there is where the delays are no facts."""
        return self._of_leading(DELAY_VARIATION, direction)

    def phase(self, phase: Phase) -> Sketch | None:
        """How long a part of the exchanges with a service took; None where there was none."""
        return self._of_leading(PHASES[phase])

    def _leading(self, metric: str, direction: str = "") -> Quality | None:
        samples = self.samples(metric, direction)
        best = max(Quality, key=samples.__getitem__)
        return best if samples[best] else None

    def _of_leading(self, metric: str, direction: str = "") -> Sketch | None:
        quality = self._leading(metric, direction)
        return None if quality is None else self.sketches[SketchKey(metric, quality, direction)]


@dataclass(frozen=True, slots=True)
class Batch:
    """What one probe ships in one request. `(instance_id, sequence)` identifies it for ever."""

    site: str
    instance_id: str
    sequence: int
    windows: tuple[PathWindow, ...]
    routes: tuple[RouteObservation, ...] = ()
    readings: tuple[Reading, ...] = ()

    @property
    def told(self) -> tuple[Told, ...]:
        """What it says beside its windows."""
        return (*self.routes, *self.readings)


@dataclass(frozen=True, slots=True)
class Selector:
    """Which series a query is about: every given field must match; None matches all."""

    path: str | None = None
    src: str | None = None
    dst: str | None = None
    traffic_class: str | None = None
    probe: ProbeKind | None = None

    def matches(self, key: SeriesKey) -> bool:
        return (  # asked of all series there are: what is cheap, and leaves few of them, first
            (self.src is None or self.src == key.path.src)
            and (self.dst is None or self.dst == key.path.dst)
            and (self.traffic_class is None or self.traffic_class == key.path.traffic_class)
            and (self.probe is None or self.probe == key.probe)
            and (self.path is None or self.path == key.path.id)
        )


ALL: Final = Selector()
