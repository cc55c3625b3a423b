"""What the routes of a path were when they were last seen, so that a change is one."""

from __future__ import annotations

from dataclasses import dataclass, field

from netslo.model import Path
from netslo.route import Route, RouteObservation, same_route


@dataclass(frozen=True, slots=True)
class _Known:
    route: Route  # with the hops of all sights since it changed: one is silent here, one there
    seen_ns: int


@dataclass(slots=True)
class RouteMemory:
    """The routes of one path, by flow."""

    path: Path
    _known: dict[int, _Known] = field(default_factory=dict)

    def differs(self, route: Route) -> bool:
        """Whether a flow's route is another than it was."""
        known = self._known.get(route.flow)
        return known is not None and not same_route(known.route, route)

    def observe(self, route: Route, seen_ns: int) -> RouteObservation:
        """Take in a sight of a flow's route, and return what there is to tell."""
        known = self._known.get(route.flow)
        if known is None or not same_route(known.route, route):
            self._known[route.flow] = _Known(route, seen_ns)
            if known is None:
                return RouteObservation(self.path, route, seen_ns)
            return RouteObservation(self.path, route, seen_ns, known.route, known.seen_ns)
        self._known[route.flow] = _Known(route.completed(known.route), seen_ns)
        return RouteObservation(self.path, route, seen_ns)
