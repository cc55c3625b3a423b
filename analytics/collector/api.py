"""The JSON API: GET /api/v1/paths and /api/v1/windows.

Times are Unix seconds, durations seconds; a figure that cannot be said is null. An error is
`{"error": text}`.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from aiohttp import web
from multidict import MultiMapping

from analytics.collector.live import Live, Recent
from analytics.collector.query import (
    BadQuery,
    check_names,
    read_duration,
    read_path,
    read_time,
)
from analytics.collector.state import HealthBoard, LastWindows
from analytics.figures import floor_marks, window_figures
from analytics.horizons import HORIZONS
from analytics.store import WindowStore
from analytics.summary import distribution
from analytics.windows import Selector, SeriesKey
from netslo.estate import Estate
from netslo.metrics import JITTER, RTT
from netslo.model import WINDOW_S
from netslo.units import format_duration

WINDOWS_MAX: Final = 5000  # in one answer
_SPAN_S: Final = 300

Answer = Callable[[MultiMapping[str]], dict[str, Any]]
Handler = Callable[[web.Request], Awaitable[web.Response]]


class Api:
    """Answers from the store. Each answer is made in a thread, not in the event loop."""

    def __init__(
        self,
        store: WindowStore,
        estate: Estate,
        last_windows: LastWindows,
        live: Live,
        board: HealthBoard,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._estate = estate
        self._last_windows = last_windows
        self._live = live
        self._board = board
        self._clock = clock

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of this module."""
        return [
            web.get("/api/v1/paths", json_handler(self.paths)),
            web.get("/api/v1/probes", json_handler(self.probes)),
            web.get("/api/v1/horizons", json_handler(self.horizons)),
            web.get("/api/v1/windows", json_handler(self.windows)),
        ]

    def paths(self, query: MultiMapping[str]) -> dict[str, Any]:
        """Answer with every path measured within `range`, up to now.

        `{"start", "end", "range", "paths": [{"path", "src_site", "dst_site", "class", "scope",
        "probe", "last_window_end", the figures of a window, "noise_floor", "could_be_floor"}]}`

        `noise_floor` is what the probe's host adds itself, by quantile, and `could_be_floor` which
        percentiles of the round trip it could explain.

        Raises:
            BadQuery: a parameter is wrong.
        """
        check_names(query, ("range",))
        span_s = read_duration("range", query.get("range", "5m"))
        end_s = int(self._clock()) // WINDOW_S * WINDOW_S
        start_s = end_s - span_s
        ends, floors = self._last_windows.ends(), self._board.noise_floors(self._clock())
        paths = []
        for key, window in self._store.aggregate(Selector(), start_s, end_s).items():
            path = key.path
            if self._estate.knows(path):  # not one which the estate has given up
                figures, floor = window_figures(window), floors.get(path.src)
                paths.append(
                    {
                        "path": path.id,
                        "src_site": path.src,
                        "dst_site": path.dst,
                        "class": path.traffic_class,
                        "scope": self._estate.scope(path).value,
                        "probe": key.probe.value,
                        "last_window_end": ends.get(key),
                        **figures,
                        "noise_floor": floor,
                        "could_be_floor": floor_marks(figures, floor or {}),
                    }
                )
        return {"start": start_s, "end": end_s, "range": format_duration(span_s), "paths": paths}

    def probes(self, query: MultiMapping[str]) -> dict[str, Any]:
        """Answer with what every probe said of itself in the last ten minutes.

        `{"probes": [{"site", "instance", "last_report", "clock_error", "spool_batches",
        "noise_floor": {"0.5", "0.9", "0.99", "0.999"}}]}`

        Raises:
            BadQuery: there is a parameter.
        """
        check_names(query, ())
        return {"probes": [each.to_json() for each in self._board.reports(self._clock())]}

    def horizons(self, query: MultiMapping[str]) -> dict[str, Any]:
        """Answer with one path over the last minute, 5 minutes, hour, 6 hours, day and 28 days.

        `{"path", "horizons": [{"horizon", "start", "end", "probe", "due", "answered", "lost",
        "unmeasured", "rtt", "jitter": {"pdv"}}]}`. Made from memory: the longest costs no more
        than the shortest.

        Raises:
            BadQuery: a parameter is wrong, or the figures are still being made from the store.
        """
        check_names(query, ("path",))
        path = read_path(query.get("path"), self._estate)
        found = []
        for horizon in HORIZONS:
            recent = self._live.read(horizon)
            if recent is None:
                why = self._live.problem or "they are still being made from the store"
                raise BadQuery(f"no figures of the last days: {why}", 503)
            found += [
                {"horizon": format_duration(horizon.length_s), **_recent_figures(recent, series)}
                for series in recent
                if series.path == path
            ]
        return {"path": path.id, "horizons": found}

    def windows(self, query: MultiMapping[str]) -> dict[str, Any]:
        """Answer with the windows of one path which begin in [start, end).

        `{"path", "resolution", "windows": [{"start", "end", "probe", and the figures}]}`, the
        last five minutes at 10 s unless the query says otherwise. A window may be longer than
        the resolution where the finer ones have been rolled up.

        Raises:
            BadQuery: a parameter is wrong, or the answer would be too long.
        """
        check_names(query, ("path", "start", "end", "resolution"))
        path = read_path(query.get("path"), self._estate)
        resolution_s = read_duration("resolution", query.get("resolution", "10s"))
        end_s = read_time("end", query["end"]) if "end" in query else self._clock()
        start_s = read_time("start", query["start"]) if "start" in query else end_s - _SPAN_S
        if not start_s < end_s:
            raise BadQuery("start does not lie before end")
        if (end_s - start_s) / resolution_s > WINDOWS_MAX:
            raise BadQuery(
                f"more than {WINDOWS_MAX} windows; ask for a shorter span or a coarser resolution"
            )
        found = self._store.windows(
            Selector(path=path.id), math.ceil(start_s), math.ceil(end_s), resolution_s
        )
        return {
            "path": path.id,
            "resolution": format_duration(resolution_s),
            "windows": [
                {
                    "start": window.window.start_s,
                    "end": window.window.end_s,
                    "probe": window.key.probe.value,
                    **window_figures(window),
                }
                for window in found
            ],
        }


def _recent_figures(recent: Recent, series: SeriesKey) -> dict[str, Any]:
    packets = recent.packets(series)
    rtt, jitter = (recent.sketch(series, metric) for metric in (RTT, JITTER))
    return {
        "start": recent.view.start_s,
        "end": recent.view.end_s,
        "probe": series.probe.value,
        "due": packets.due,
        "answered": packets.answered,
        "lost": packets.lost,
        "unmeasured": packets.unmeasured,
        "rtt": distribution(rtt),
        "jitter": {"pdv": distribution(jitter)},
    }


def json_handler(answer: Answer) -> Handler:
    """Return what answers a request with `answer` of its query, or with what is wrong with it."""

    async def handle(request: web.Request) -> web.Response:
        try:
            text = await asyncio.to_thread(lambda: _dump(answer(request.query)))
        except BadQuery as refusal:
            return web.json_response({"error": str(refusal)}, status=refusal.status)
        return web.json_response(text=text)

    return handle


def _dump(answer: Mapping[str, Any]) -> str:
    return json.dumps(answer, allow_nan=False, separators=(",", ":"))
