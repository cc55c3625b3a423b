"""The ways of a path: its routes, how they changed, and what they carry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Final

from analytics.readings import Reading
from analytics.store.interface import Latest
from netslo import metrics
from netslo.estate import Estate
from netslo.model import NS_PER_S, Path
from netslo.route import Hop, Route, RouteObservation

CHANGES_SHOWN: Final = 8
FLOWS_SHOWN: Final = 16


@dataclass(frozen=True, slots=True)
class Flow:
    """The route of one flow, as it was last seen."""

    route: Route
    seen_s: float
    stale: bool


@dataclass(frozen=True, slots=True)
class Routes:
    """Flows side by side: a row for each hop, None behind the end of a flow."""

    flows: tuple[Flow, ...]
    rows: tuple[tuple[Hop | None, ...], ...]
    left_out: int  # flows that there is no room for


def routes(latest: Sequence[Latest[RouteObservation]], now_s: float) -> Routes:
    """Return the current routes of one path."""
    flows = tuple(
        Flow(each.told.route, each.told.seen_ns / NS_PER_S, each.stale_s < now_s)
        for each in latest[:FLOWS_SHOWN]
    )
    rows = tuple(zip_longest(*(flow.route.hops for flow in flows)))
    return Routes(flows, rows, len(latest) - len(flows))


@dataclass(frozen=True, slots=True)
class Step:
    """A hop before and after a change, each with its number; None where there was none."""

    before: tuple[int, Hop] | None
    after: tuple[int, Hop] | None

    @property
    def differs(self) -> bool:
        """Whether these two cannot be the same hop."""
        if self.before is None or self.after is None:
            return True
        return not self.before[1].matches(self.after[1])


@dataclass(frozen=True, slots=True)
class Change:
    """A flow that took another route than before."""

    at_s: float
    before_s: float  # when the route before was last seen
    before: Route
    after: Route
    steps: tuple[Step, ...]

    @property
    def differing(self) -> int:
        return sum(step.differs for step in self.steps)


def changes(seen: Iterable[RouteObservation]) -> tuple[Change, ...]:
    """Return what changed, hop beside hop."""
    return tuple(
        Change(
            each.seen_ns / NS_PER_S,
            each.previous_seen_ns / NS_PER_S,
            each.previous,
            each.route,
            tuple(_steps(each.previous.hops, each.route.hops)),
        )
        for each in seen
        if each.previous is not None and each.previous_seen_ns is not None
    )


def _steps(before: Sequence[Hop], after: Sequence[Hop]) -> Iterator[Step]:
    """Pair hops up: a router that has come between moves the rest, and changes none of it."""
    matcher = SequenceMatcher(None, [h.key for h in before], [h.key for h in after], autojunk=False)
    for _, i, i_end, j, j_end in matcher.get_opcodes():
        olds = [(n + 1, before[n]) for n in range(i, i_end)]
        news = [(n + 1, after[n]) for n in range(j, j_end)]
        for old, new in zip_longest(olds, news):
            yield Step(old, new)


@dataclass(frozen=True, slots=True)
class Capacity:
    """The latest figures of one direction by one method; bit/s and seconds."""

    direction: str
    method: str
    bits_per_second: float | None
    at_s: float
    stale: bool
    of_link: float | None  # the ratio to what the estate says of the link
    idle_s: tuple[float | None, float | None]  # p50, p99 of the round trip
    loaded_s: tuple[float | None, float | None]


@dataclass(frozen=True, slots=True)
class Capacities:
    link_bits_per_second: float | None  # None: no link joins the two sites
    rows: tuple[Capacity, ...]


def capacities(
    latest: Iterable[Latest[Reading]], path: Path, estate: Estate, now_s: float
) -> Capacities:
    """Return the latest figures of one path."""
    link = estate.link_capacity(path)
    tests: dict[tuple[str, str], list[Latest[Reading]]] = {}
    for each in latest:
        tests.setdefault((each.told.direction, each.told.method), []).append(each)
    return Capacities(
        link, tuple(_capacity(*key, found, link, now_s) for key, found in sorted(tests.items()))
    )


def _capacity(
    direction: str,
    method: str,
    found: Sequence[Latest[Reading]],
    link: float | None,
    now_s: float,
) -> Capacity:
    values = {(e.told.metric, e.told.state, e.told.quantile): e.told.value for e in found}
    bits = values.get((metrics.BANDWIDTH, "", ""))

    def rtts(state: str) -> tuple[float | None, float | None]:
        return (
            values.get((metrics.LOADED_RTT, state, "0.5")),
            values.get((metrics.LOADED_RTT, state, "0.99")),
        )

    return Capacity(
        direction,
        method,
        bits,
        max(each.told.seen_ns for each in found) / NS_PER_S,
        all(each.stale_s < now_s for each in found),
        bits / link if bits is not None and link else None,
        rtts("idle"),
        rtts("loaded"),
    )
