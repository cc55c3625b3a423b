"""What is known of paths' routes and capacity: /api/v1/routes, path_changes and bandwidth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from aiohttp import web
from multidict import MultiMapping

from analytics.collector.api import json_handler
from analytics.collector.query import BadQuery, check_names, read_path, read_time, read_whole
from analytics.readings import Reading
from analytics.store import WindowStore
from netslo import metrics
from netslo.estate import Estate
from netslo.model import NS_PER_S, Path
from netslo.route import Hop, RouteObservation

LIMIT: Final = 100
LIMIT_MAX: Final = 1000
_SPAN: Final = ("path", "start", "end", "limit")


class PathApi:
    """Answers from the store. Without `path`, all paths of the estate are meant."""

    def __init__(self, store: WindowStore, estate: Estate, clock: Callable[[], float]) -> None:
        self._store = store
        self._estate = estate
        self._clock = clock

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of this module."""
        return [
            web.get("/api/v1/routes", json_handler(self.current)),
            web.get("/api/v1/path_changes", json_handler(self.changes)),
            web.get("/api/v1/bandwidth", json_handler(self.bandwidth)),
        ]

    def current(self, query: MultiMapping[str]) -> dict[str, Any]:
        """Answer with the route that each flow was seen to take last.

        `{"routes": [{"path", "flow", "protocol", "seen", "stale", "fingerprint", "reached",
        "path_mtu", "hops": [{"address", "labels": [{"label", "tc", "bottom", "ttl"}]}]}]}`

        `address` is null where no router answered, and `stale` true where the flow was not seen
        for three times as long as before.

        Raises:
            BadQuery: a parameter is wrong.
        """
        check_names(query, ("path",))
        now_s = self._clock()
        return {
            "routes": [
                {
                    **_flow(latest.told),
                    "seen": latest.told.seen_ns / NS_PER_S,
                    "stale": latest.stale_s < now_s,
                    "fingerprint": latest.told.route.fingerprint,
                    "reached": latest.told.route.reached,
                    "path_mtu": latest.told.route.path_mtu,
                    "hops": _hops(latest.told.route.hops),
                }
                for latest in self._store.routes(self._path(query))
                if self._estate.knows(latest.told.path)
            ]
        }

    def changes(self, query: MultiMapping[str]) -> dict[str, Any]:
        """Answer with the newest changes of routes in [start, end), newest first.

        `{"path_changes": [{"time", "path", "flow", "protocol",
        "before": {"seen", "fingerprint", "hops", "reached"},
        "after": {"fingerprint", "hops", "reached", "path_mtu"}}]}`, with hops as of routes. As
        long ago as they are kept, and no more than 100, unless the query says otherwise.

        Raises:
            BadQuery: a parameter is wrong.
        """
        found = self._store.path_changes(*self._span(query))
        return {"path_changes": [_change(each) for each in found if self._estate.knows(each.path)]}

    def bandwidth(self, query: MultiMapping[str]) -> dict[str, Any]:
        """Answer with the newest measurements of bandwidth in [start, end), newest first.

        `{"bandwidth": [{"time", "path", "direction", "method", "bits_per_second"}]}`, bounded as
        the changes are.

        Raises:
            BadQuery: a parameter is wrong.
        """
        found = self._store.readings(metrics.BANDWIDTH, *self._span(query))
        return {"bandwidth": [_bandwidth(each) for each in found if self._estate.knows(each.path)]}

    def _path(self, query: MultiMapping[str]) -> Path | None:
        return read_path(query["path"], self._estate) if "path" in query else None

    def _span(self, query: MultiMapping[str]) -> tuple[Path | None, float, float, int]:
        check_names(query, _SPAN)
        path = self._path(query)
        # Without an end, what has come from a clock ahead of ours as well.
        start_s = read_time("start", query["start"]) if "start" in query else 0.0
        end_s = read_time("end", query["end"]) if "end" in query else float(2**33)
        if not start_s < end_s:
            raise BadQuery("start does not lie before end")
        limit = read_whole("limit", query.get("limit", str(LIMIT)), 1, LIMIT_MAX)
        return path, start_s, end_s, limit


def _change(change: RouteObservation) -> dict[str, Any]:
    before, after = change.previous, change.route
    assert before is not None
    assert change.previous_seen_ns is not None
    return {
        "time": change.seen_ns / NS_PER_S,
        **_flow(change),
        "before": {
            "seen": change.previous_seen_ns / NS_PER_S,
            "fingerprint": before.fingerprint,
            "hops": _hops(before.hops),
            "reached": before.reached,
        },
        "after": {
            "fingerprint": after.fingerprint,
            "hops": _hops(after.hops),
            "reached": after.reached,
            "path_mtu": after.path_mtu,
        },
    }


def _flow(seen: RouteObservation) -> dict[str, Any]:
    return {"path": seen.path.id, "flow": seen.route.flow, "protocol": seen.route.protocol.value}


def _hops(hops: Sequence[Hop]) -> list[dict[str, Any]]:
    return [
        {
            "address": hop.address,
            "labels": [
                {
                    "label": label.value,
                    "tc": label.traffic_class,
                    "bottom": label.bottom,
                    "ttl": label.ttl,
                }
                for label in hop.labels
            ],
        }
        for hop in hops
    ]


def _bandwidth(reading: Reading) -> dict[str, Any]:
    return {
        "time": reading.seen_ns / NS_PER_S,
        "path": reading.path.id,
        "direction": reading.direction,
        "method": reading.method,
        "bits_per_second": reading.value,
    }
