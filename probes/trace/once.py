"""One trace of a path by the agent: it blocks, in a thread of its own, and can be ended."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field

from netslo.route import Route
from probes.address import SocketAddress
from probes.trace.carrier import Carrier
from probes.trace.engine import Tracer, find_path_mtu, open_carrier
from probes.trace.tracing import FlowRecord, TracePlan, Tracing, lengths_of


@dataclass(frozen=True, slots=True)
class TraceResult:
    """What one trace found."""

    routes: tuple[Route, ...]
    ended_ns: int  # Unix time
    lengths: Mapping[int, int]  # by flow, of what was reached
    discarded: Counter[str] = field(default_factory=Counter)
    searched: bool = False  # the path MTU


class PathTrace:
    """Traces all flows of a path, again if a route seems to have changed.

    A route that changes while it is traced would be told as a mixture of both. So what differs
    from what was known is traced once more, and that is what counts.

    Args:
        plan: How.
        target: Whom.
        differs: Whether a route is another than it was.
        lengths: How far away the target was, by flow.
        mtus: The path MTU of each flow, as it was found last; None: search it.
    """

    def __init__(
        self,
        plan: TracePlan,
        target: SocketAddress,
        differs: Callable[[Route], bool],
        lengths: Mapping[int, int],
        mtus: Mapping[int, int | None] | None,
    ) -> None:
        self._plan, self._target, self._differs = plan, target, differs
        self._lengths, self._mtus = dict(lengths), mtus
        self._stopped = threading.Event()
        self._tracer: Tracer | None = None
        self._discarded: Counter[str] = Counter()

    def run(self) -> TraceResult | None:
        """Trace; None: it was stopped.

        Raises:
            OSError: no sockets, no route to the target, or not allowed.
        """
        with closing(open_carrier(self._plan, self._target)) as carrier:
            records = self._trace(carrier, self._lengths)
            changed = any(self._differs(record.route()) for record in records)
            if changed:
                records = self._trace(carrier, {})
            ended_ns = time.time_ns()
            mtus = self._mtus
            if mtus is None or changed:
                mtus = self._search(carrier, records)
        if self._stopped.is_set():
            return None
        return TraceResult(
            routes=tuple(record.route(mtus.get(record.flow.index)) for record in records),
            ended_ns=ended_ns,
            lengths=lengths_of(records),
            discarded=self._discarded,
            searched=mtus is not self._mtus,
        )

    def stop(self) -> None:
        """End it soon; from any thread."""
        self._stopped.set()
        tracer = self._tracer
        if tracer is not None:
            tracer.stop()

    def _trace(self, carrier: Carrier, lengths: dict[int, int]) -> list[FlowRecord]:
        tracing = Tracing(
            self._plan,
            carrier.flows,
            time.monotonic_ns(),
            one_at_a_time=carrier.one_at_a_time,
            lengths=lengths,
        )
        self._tracer = tracer = Tracer(carrier, tracing)
        if self._stopped.is_set():
            tracer.stop()
        tracer.run()
        self._discarded += tracing.discarded
        return tracing.records

    def _search(self, carrier: Carrier, records: list[FlowRecord]) -> dict[int, int | None]:
        """Return the path MTU of each flow, found by one flow of each route."""
        found: dict[str, int | None] = {}
        mtus: dict[int, int | None] = {}
        for record in records:
            way = record.route().fingerprint
            if record.reached and way not in found and not self._stopped.is_set():
                found[way] = find_path_mtu(carrier, record.flow, self._stopped).octets
            mtus[record.flow.index] = found.get(way)
        return mtus
