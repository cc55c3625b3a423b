"""What a one-off measurement found: its targets, their flows, and the host's own part in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from analytics.figures import floor_marks, window_figures
from analytics.sketch import Sketch
from analytics.summary import distribution
from analytics.windows import PacketCounts, PathWindow
from netslo.model import NS_PER_S, Endpoint, ProbeKind, Quality
from probes.address import SocketAddress
from probes.channel import REFUSED, Report
from probes.noise_floor import NoiseFloor
from probes.schedule import LATE_NS

LATE_S: Final = LATE_NS / NS_PER_S
FLOOR_MATTERS_S: Final = 0.02  # no host that measures at all has a floor above a third of that


@dataclass(slots=True)
class Flow:
    """The packets of one source port: routers that share load by ports send them one way."""

    total: PathWindow
    source_port: int | None = None  # None: never known, or ICMP, which has none

    def to_json(self) -> dict[str, Any]:
        return {"source_port": self.source_port, **window_figures(self.total)}


@dataclass(slots=True)
class Measurement:
    """What came of one target."""

    target: Endpoint
    address: SocketAddress
    flows: list[Flow]
    authenticated: bool = False
    dscp: int = 0
    stamps_leaving: bool = True  # this host's kernel tells when a packet leaves

    @property
    def total(self) -> PathWindow:
        """All flows together. RFC 3550 jitter is the state of one flow; of several there is none.

        The sketches are there only when the measurement is over.
        """
        key, window = self.flows[0].total.key, self.flows[0].total.window
        whole = PathWindow(key, window)
        for flow in self.flows:
            whole.absorb(replace(flow.total, key=key))
        if len(self.flows) > 1:
            whole.interarrival_jitter_s = None
        return whole

    @property
    def kind(self) -> ProbeKind:
        return self.flows[0].total.key.probe

    @property
    def name(self) -> str:
        """The target as the user wrote it, with its port if it has one."""
        return self.target.host if self.kind is ProbeKind.ICMP else str(self.target)

    @property
    def where(self) -> str:
        """The address measured, with its port if it has one."""
        echo = self.kind is ProbeKind.ICMP
        return self.address.host if echo else str(self.address)

    def to_json(self, floor: NoiseFloor | None = None) -> dict[str, Any]:
        """Return the stable shape of a target's figures; what is not known is null."""
        figures = window_figures(self.total)
        return {
            "target": self.name,
            "address": self.where,
            "kind": self.kind.value,
            "authenticated": self.authenticated,
            **figures,
            "why_not_a": why_not_a(self),
            "could_be_floor": marks(figures, floor),
            "flows": [flow.to_json() for flow in self.flows],
        }


def marks(figures: Mapping[str, Any], floor: NoiseFloor | None) -> dict[str, bool | None]:
    """Return for each percentile of a round trip whether the floor could explain it."""
    return floor_marks(figures, {} if floor is None else floor.bounds)


def why_not_a(measurement: Measurement) -> str | None:
    """Say why the figures are not of class A; None if they are, or there are none."""
    quality = measurement.total.quality
    if quality in (None, Quality.A):
        return None
    if not measurement.stamps_leaving:
        return "this host's kernel does not tell when a packet leaves"
    if measurement.kind is ProbeKind.ICMP:
        return "what the far end takes to answer an echo is not known"
    if quality is Quality.B:
        return (
            "the far end reads the time of its reply (T3) in user space "
            "and sends no follow-up (RFC 8972 §4.7)"
        )
    return "the far end does not say that its kernel takes T2 (RFC 8972 §4.3)"


@dataclass(slots=True)
class Measurements:
    """What came of all targets, and of the prober itself."""

    targets: list[Measurement]
    discarded: Counter[str] = field(default_factory=Counter)
    lateness: Sketch = field(default_factory=Sketch)  # of the packets sent, seconds
    late: int = 0  # packets that left more than LATE_S after they were due
    stopped: bool = False  # by Ctrl-C, before all was sent
    floor: NoiseFloor | None = None

    @property
    def packets(self) -> PacketCounts:
        """The packets of all targets."""
        whole = PacketCounts()
        for measurement in self.targets:
            whole.add(measurement.total.packets)
        return whole

    @property
    def refused(self) -> bool:
        """Whether a target's host said that nothing listens on the port."""
        return self.discarded[REFUSED] > 0

    @property
    def near_floor(self) -> bool:
        """Whether a figure is so small that this host's own noise could have a part in it."""
        least_s = [each.total.rtt() for each in self.targets]
        return any(s is not None and (s.min or 0.0) < FLOOR_MATTERS_S for s in least_s)

    def take_in(self, reports: Mapping[str, Report], flows: list[Flow]) -> None:
        """Add what the engine reports; a window's path names the place of its flow."""
        for report in reports.values():
            for window in report.windows:
                flows[int(window.key.path.dst)].total.absorb(window)
            self.discarded += report.discarded
            late_s = np.array(report.lateness_s)
            self.lateness.add(late_s)
            self.late += int((late_s > LATE_S).sum())

    def to_json(self) -> dict[str, Any]:
        """Return the stable shape of `measure rtt --json`; of several targets, a list of them."""
        prober = {
            "send_lateness": distribution(self.lateness),
            "late": self.late,
            "discarded": dict(self.discarded),
            "noise_floor": None if self.floor is None else self.floor.to_json(),
        }
        shapes = [measurement.to_json(self.floor) for measurement in self.targets]
        return {**shapes[0], **prober} if len(shapes) == 1 else {"targets": shapes, **prober}
