"""What came of a bandwidth test; bit/s, seconds and ratios."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Final

from pydantic import Field

from analytics.sketch import Sketch
from analytics.summary import distribution
from probes.bandwidth.plan import Direction, Method
from probes.bandwidth.words import Words

LOADED_QUANTILES: Final = (0.5, 0.9, 0.99)
_RPM_S: Final = 60.0

Count = Annotated[int, Field(ge=0, le=1 << 62)]
Figure = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class Capacity:
    """What packet trains say of the narrowest link.

    `bit_per_s` counts IP packets (RFC 5136 §2.3.1), `frames_bit_per_s` those with 14 octets of
    Ethernet header. None: too little arrived to state a figure, and `why` says what.
    """

    bit_per_s: float | None
    frames_bit_per_s: float | None
    trains: int  # that were sent
    usable: int  # of these
    sent: int  # packets
    arrived: int
    spread: float | None  # between the trains: interquartile range by median
    shaped: bool  # trains began faster than they went on: a token bucket lets a burst pass
    octets: int  # sent, as frames
    why: str | None = None

    @property
    def quality(self) -> str | None:
        """How well the trains agree: good to 2 %, fair to 10 %, poor."""
        if self.spread is None:
            return None
        return "good" if self.spread <= 0.02 else "fair" if self.spread <= 0.1 else "poor"  # noqa: PLR2004

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "quality": self.quality}


@dataclass(frozen=True, slots=True)
class Throughput:
    """What one direction of a TCP test carried, by the sender's TCP_INFO (RFC 4898's counters).

    Goodput is the rate of acknowledged octets after slow start; octets that wait for a hole before
    them to be filled count as soon as the far end says that it has them (SACK). `average` is over
    all that time. On a path that carries steadily a moment's stall, not by TCP's own timer, is left
    out of the goodput (`steady.Rate`).
    """

    goodput_bit_per_s: Figure | None
    octets: Count  # acknowledged in all
    measured_s: Figure  # what the slope is over
    warm_up_s: Figure  # before that: slow start
    by_stream_bit_per_s: Annotated[tuple[Figure, ...], Field(max_length=64)]
    segment_octets: Count  # of TCP payload at most
    sent_segments: Count | None  # None: not told
    retransmitted_segments: Count | None
    min_rtt_s: Figure | None
    rtt_s: Figure | None  # the sender's smoothed one, median of the samples
    congestion: Annotated[Words, Field(max_length=32)]
    busy: Figure | None  # share of the time with data under way
    receiver_limited: Figure | None  # share of the time that the receiver's window held it back
    sender_limited: Figure | None  # ... that the send buffer did
    ended_by: Annotated[Words, Field(max_length=200)]  # "time", or what ended it early
    why: Annotated[Words, Field(max_length=200)] | None = None  # there is no figure
    average_bit_per_s: Figure | None = None
    low_bit_per_s: Figure | None = None  # 95 % interval of the goodput
    high_bit_per_s: Figure | None = None
    steady: bool = False
    stalled: Figure = 0.0  # share of the time that goodput leaves out

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Received:
    """What the receiver of a TCP test counted."""

    octets: Count
    seconds: Figure  # from its first octet to its last


@dataclass(slots=True)
class LoadedLatency:
    """Round trips before and during the load; the same packets, at the same rate."""

    by: str  # "stamp", or "tcp control" where there is no reflector
    idle: Sketch = field(default_factory=Sketch)
    loaded: Sketch = field(default_factory=Sketch)
    idle_lost: int = 0
    loaded_lost: int = 0
    quality: str | None = None  # of the timestamps

    def quantile(self, state: str, q: float) -> float | None:
        """Return a percentile of `idle` or `loaded` round trips, seconds; None: there are none."""
        sketch = self.idle if state == "idle" else self.loaded
        return float(sketch.quantiles([q])[0]) if sketch.count else None

    def bufferbloat_s(self, q: float) -> float | None:
        """Return how much longer a round trip is under load, at a percentile; seconds."""
        idle, loaded = self.quantile("idle", q), self.quantile("loaded", q)
        return None if idle is None or loaded is None else loaded - idle

    @property
    def round_trips_per_minute(self) -> float | None:
        """60 s by the median round trip under load: responsiveness in round trips a minute.

        The unit of draft-ietf-ippm-responsiveness, by UDP (or the control channel) beside this
        load; the draft's own figure weighs TCP, TLS and HTTP/2 exchanges under its own load.
        """
        median_s = self.quantile("loaded", 0.5)
        return None if not median_s else _RPM_S / median_s

    def to_json(self) -> dict[str, Any]:
        return {
            "by": self.by,
            "quality": self.quality,
            "idle": distribution(self.idle, LOADED_QUANTILES),
            "loaded": distribution(self.loaded, LOADED_QUANTILES),
            "idle_lost": self.idle_lost,
            "loaded_lost": self.loaded_lost,
            "bufferbloat": {f"{q:g}": self.bufferbloat_s(q) for q in (0.5, 0.99)},
            "round_trips_per_minute": self.round_trips_per_minute,
        }


@dataclass(slots=True)
class DirectionResult:
    """What came of one direction."""

    direction: Direction
    method: Method
    capacity: Capacity | None = None
    throughput: Throughput | None = None
    received: Received | None = None
    loaded: LoadedLatency | None = None
    began_ns: int = 0  # Unix time from which the path was loaded
    ended_ns: int = 0
    load_began_ns: int = 0  # Unix time of the first octet of TCP; 0: there was none
    failure: str | None = None  # why there is nothing

    @property
    def bit_per_s(self) -> float | None:
        """The figure to publish: TCP's goodput, or capacity for IP packets; None: there is none."""
        if self.method is Method.TRAIN:
            return None if self.capacity is None else self.capacity.bit_per_s
        return None if self.throughput is None else self.throughput.goodput_bit_per_s

    @property
    def why(self) -> str | None:
        """Why there is no figure."""
        if self.bit_per_s is not None:
            return None
        part = self.capacity if self.method is Method.TRAIN else self.throughput
        return self.failure or (None if part is None else part.why) or "nothing was measured"

    def to_json(self) -> dict[str, Any]:
        parts = {
            "capacity": self.capacity,
            "throughput": self.throughput,
            "loaded_latency": self.loaded,
        }
        return {
            "direction": self.direction.value,
            "bit_per_s": self.bit_per_s,
            "why": self.why,
            **{name: None if part is None else part.to_json() for name, part in parts.items()},
            "received": None if self.received is None else asdict(self.received),
            "began": self.began_ns / 1e9,
            "load_began": self.load_began_ns / 1e9 if self.load_began_ns else None,
            "ended": self.ended_ns / 1e9,
        }


@dataclass(slots=True)
class BandwidthResult:
    """What came of a test."""

    target: str
    method: Method
    address: str = ""
    directions: list[DirectionResult] = field(default_factory=list)
    octets_reserved: int = 0
    octets_used: int = 0  # payload of TCP, frames of trains
    stopped: bool = False  # by the user

    def to_json(self) -> dict[str, Any]:
        """Return the stable shape of `measure bandwidth --json`; what is not known is null."""
        return {
            "target": self.target,
            "address": self.address or None,
            "method": self.method.value,
            "octets_reserved": self.octets_reserved,
            "octets_used": self.octets_used,
            "stopped": self.stopped,
            "directions": [each.to_json() for each in self.directions],
        }
