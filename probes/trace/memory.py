"""What the routes of a path were when they were last seen, so that a change is one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from netslo.model import Path
from netslo.route import Route, RouteObservation, TraceProtocol, same_route


@dataclass(frozen=True, slots=True)
class Sight:
    """A flow's route, with the hops of all sights since it changed: one is silent here, one there.

    `seen_ns` is when it was seen last, Unix time.
    """

    route: Route
    seen_ns: int


@dataclass(frozen=True, slots=True)
class Way:
    """What packets are traced by: only sights of the same can be compared."""

    target: str  # address
    protocol: TraceProtocol
    port: int
    source_port: int  # of the first flow
    dscp: int


@dataclass(frozen=True, slots=True)
class Remembered:
    """What is known of a path's routes, to be known again after a restart."""

    way: Way
    sights: tuple[Sight, ...]


class RouteMemory:
    """The routes of one path, by flow."""

    def __init__(self, path: Path, sights: Iterable[Sight] = ()) -> None:
        self.path = path
        self._known = {sight.route.flow: sight for sight in sights}

    @property
    def sights(self) -> tuple[Sight, ...]:
        """What is known of each flow."""
        return tuple(self._known.values())

    def differs(self, route: Route) -> bool:
        """Whether a flow's route is another than it was."""
        known = self._known.get(route.flow)
        return known is not None and not same_route(known.route, route)

    def observe(self, route: Route, seen_ns: int) -> RouteObservation:
        """Take in a sight of a flow's route, and return what there is to tell."""
        known = self._known.get(route.flow)
        if known is None or not same_route(known.route, route):
            self._known[route.flow] = Sight(route, seen_ns)
            if known is None:
                return RouteObservation(self.path, route, seen_ns)
            before_ns = min(known.seen_ns, seen_ns)  # the clock was set back meanwhile, perhaps
            return RouteObservation(self.path, route, seen_ns, known.route, before_ns)
        self._known[route.flow] = Sight(route.completed(known.route), seen_ns)
        return RouteObservation(self.path, route, seen_ns)
