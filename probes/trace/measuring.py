"""A one-off trace from a shell: what it found, for a person and for scripts."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np

from analytics.sketch import Sketch
from analytics.summary import distribution
from netslo.errors import ConfigurationError
from netslo.model import Endpoint
from probes.address import SocketAddress
from probes.engine_thread import EngineThread
from probes.trace.answers import MARK_WORDS, Answer
from probes.trace.carrier import Carrier, Tap
from probes.trace.engine import PathMtu, Tracer, find_path_mtu, open_carrier
from probes.trace.flow import Flow
from probes.trace.tracing import FlowRecord, HopRecord, TracePlan, Tracing

_GATHERED: Final = 256  # round trips that are put into a sketch together


@dataclass(slots=True)
class _RoundTrips:
    """Round trips of one hop of one flow, in seconds."""

    sketch: Sketch = field(default_factory=Sketch)
    gathered: list[float] = field(default_factory=list)

    def add(self, rtt_s: float) -> None:
        self.gathered.append(rtt_s)
        if len(self.gathered) >= _GATHERED:
            self.settle()

    def settle(self) -> Sketch:
        self.sketch.add(np.array(self.gathered))
        self.gathered.clear()
        return self.sketch


@dataclass(frozen=True, slots=True)
class BranchHop:
    """One TTL of one branch, all of its flows together."""

    ttl: int
    last: Answer | None
    addresses: Counter[str]
    sent: int
    answered: int
    lost: int
    rtt: Sketch


@dataclass(frozen=True, slots=True)
class Branch:
    """The flows that were seen to take one way."""

    flows: tuple[Flow, ...]
    hops: tuple[BranchHop, ...]
    reached: bool
    end: Answer | None
    mtu: PathMtu | None


@dataclass(slots=True)
class TraceMeasurement:
    """What came of it so far."""

    target: Endpoint
    address: SocketAddress
    plan: TracePlan
    privileged: bool
    tracing: Tracing
    mtus: dict[int, PathMtu] = field(default_factory=dict)  # by flow
    stopped: bool = False
    _rtt: dict[tuple[int, int], _RoundTrips] = field(default_factory=dict)  # by flow and TTL

    @property
    def reached(self) -> bool:
        """Whether every flow came to the target."""
        return all(record.reached for record in self.tracing.records)

    @property
    def discarded(self) -> Counter[str]:
        return self.tracing.discarded

    def note_rtt(self, flow: Flow, ttl: int, rtt_s: float) -> None:
        """Take in a round trip."""
        self._rtt.setdefault((flow.index, ttl), _RoundTrips()).add(rtt_s)

    def branches(self) -> list[Branch]:
        """Return the branches, in the order of their first flows."""
        groups: dict[str, list[FlowRecord]] = {}
        for record in self.tracing.records:
            groups.setdefault(record.route().fingerprint, []).append(record)
        return [self._branch(group) for group in groups.values()]

    def to_json(self) -> dict[str, Any]:
        """Return the stable shape of `measure trace --json`."""
        return {
            "target": self.target.host,
            "address": self.address.host,
            "protocol": self.plan.protocol.value,
            "port": self.plan.port or None,
            "dscp": self.plan.dscp,
            "rounds": self.tracing.rounds,
            "reached": self.reached,
            "privileged": self.privileged,
            "flows": [self._flow_json(record) for record in self.tracing.records],
            "discarded": dict(self.discarded),
        }

    def _branch(self, group: Sequence[FlowRecord]) -> Branch:
        length = max(record.length for record in group)
        return Branch(
            flows=tuple(record.flow for record in group),
            hops=tuple(self._hop(group, ttl) for ttl in range(1, length + 1)),
            reached=group[0].reached,
            end=group[0].end,
            mtu=next((self.mtus[r.flow.index] for r in group if r.flow.index in self.mtus), None),
        )

    def _hop(self, group: Sequence[FlowRecord], ttl: int) -> BranchHop:
        addresses: Counter[str] = Counter()
        rtt = Sketch()
        records = []
        for record in group:
            hop = record.hops[ttl - 1] if ttl <= len(record.hops) else HopRecord()
            records.append(hop)
            addresses.update(hop.addresses)
            trips = self._rtt.get((record.flow.index, ttl))
            if trips is not None:
                rtt.merge(trips.settle())
        return BranchHop(
            ttl=ttl,
            last=next((hop.last for hop in records if hop.last is not None), None),
            addresses=addresses,
            sent=sum(hop.sent for hop in records),
            answered=sum(hop.answered for hop in records),
            lost=sum(hop.lost for hop in records),
            rtt=rtt,
        )

    def _flow_json(self, record: FlowRecord) -> dict[str, Any]:
        mtu = self.mtus.get(record.flow.index)
        branch = self._branch([record])
        return {
            "flow": record.flow.index,
            "source_port": record.flow.source_port,
            "reached": record.reached,
            "unreachable": outcome(record.end),
            "fingerprint": record.route().fingerprint,
            "path_mtu": None if mtu is None else mtu.octets,
            "black_hole": None if mtu is None else mtu.black_hole,
            "hops": list(map(_hop_json, branch.hops)),
        }


class TraceMeasuring:
    """A trace under way, in a thread of its own.

    Args:
        target: Whom to trace, as the user wrote it.
        address: Where that is.
        plan: How.
        mtu: Whether to search the path MTU of each branch afterwards.
        tap: Is given each packet that leaves or comes.

    Raises:
        ConfigurationError: what is asked for cannot be done here; nothing was started.
    """

    def __init__(
        self,
        target: Endpoint,
        address: SocketAddress,
        plan: TracePlan,
        *,
        mtu: bool,
        tap: Tap | None = None,
    ) -> None:
        try:
            self._carrier: Carrier = open_carrier(plan, address, tap)
        except OSError as error:
            raise ConfigurationError(f"{target.host}: {error.strerror or error}") from error
        self.searching = False  # the path MTU
        self._with_mtu = mtu
        self._stopped = threading.Event()
        tracing = Tracing(
            plan,
            self._carrier.flows,
            time.monotonic_ns(),
            one_at_a_time=self._carrier.one_at_a_time,
            on_rtt=self._note_rtt,
        )
        privileged = not self._carrier.one_at_a_time
        self.result = TraceMeasurement(target, address, plan, privileged, tracing)
        self._tracer = Tracer(self._carrier, tracing)
        self._thread = EngineThread(_Run(self._work, self._stop))

    def measure(self, on_tick: Callable[[], None], tick_s: float = 0.1) -> TraceMeasurement:
        """Trace to the end, calling `on_tick` meanwhile; KeyboardInterrupt ends it early."""
        try:
            self.result.stopped = self._thread.run(on_tick, tick_s)
        finally:
            self._stop()
        return self.result

    def look(self) -> list[Branch]:
        """Return the branches as far as they are known; from any thread."""
        with self._tracer.lock:
            return self.result.branches()

    def _work(self) -> None:
        try:
            self._tracer.run()
            if self._with_mtu:
                self.searching = True
                self._search()
        finally:
            self._carrier.close()

    def _search(self) -> None:
        """Find the path MTU of each branch, by its first flow."""
        for branch in self.result.branches():
            if branch.reached and not self._stopped.is_set():
                found = find_path_mtu(self._carrier, branch.flows[0], self._stopped)
                if self._stopped.is_set():
                    return  # half a search knows nothing
                self.result.mtus.update({flow.index: found for flow in branch.flows})

    def _stop(self) -> None:
        self._stopped.set()
        self._tracer.stop()

    def _note_rtt(self, flow: Flow, ttl: int, rtt_s: float) -> None:
        self.result.note_rtt(flow, ttl, rtt_s)


@dataclass(frozen=True, slots=True)
class _Run:
    """Two functions as an engine."""

    work: Callable[[], None]
    end: Callable[[], None]

    def run(self) -> None:
        self.work()

    def stop(self) -> None:
        self.end()


def outcome(end: Answer | None) -> str | None:
    """Say in words why packets go no further, or what the target said beside; None: nothing."""
    if end is None or not end.mark:
        return None
    return MARK_WORDS.get(end.mark, f"unreachable, code {end.mark.removeprefix('!')}")


def own_limits(hops: Sequence[BranchHop]) -> Iterator[bool]:
    """Yield for each hop whether a later one loses less: then it limits answers, drops nothing."""
    for place, hop in enumerate(hops):
        later = [_loss(each) for each in hops[place + 1 :] if each.answered]
        yield bool(hop.answered and later and _loss(hop) > min(later))


def _loss(hop: BranchHop) -> float:
    return hop.lost / max(1, hop.lost + hop.answered)


def _hop_json(hop: BranchHop) -> dict[str, Any]:
    last = hop.last
    return {
        "ttl": hop.ttl,
        "address": None if last is None else last.address,
        "addresses": dict(hop.addresses),
        "labels": [] if last is None else [asdict(label) for label in last.labels],
        "sent": hop.sent,
        "answered": hop.answered,
        "lost": hop.lost,
        "rtt": distribution(hop.rtt),
    }
