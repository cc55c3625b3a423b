"""Known routes in a file of the spool's folder: a change during a restart is a change, too."""

from __future__ import annotations

import json
import logging
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from analytics.windows import SeriesKey
from netslo.model import Path, ProbeKind
from netslo.route import FLOWS_MAX, HOPS_MAX, Hop, Route, TraceProtocol
from probes.durable import replace_durably
from probes.trace.memory import Remembered, Sight, Way

FILE: Final = "routes.json"
SEEN_EVERY_S: Final = 600.0  # routes that have not changed are written so often, for their times
_VERSION: Final = 1
_OCTETS_MAX: Final = 64 << 20

_log = logging.getLogger(__name__)


class KeptRoutes:
    """The file of one site. `save` belongs to one thread at a time."""

    def __init__(
        self, directory: pathlib.Path, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._written: Mapping[SeriesKey, object] | None = None
        self._written_s = 0.0

    def load(self) -> dict[SeriesKey, Remembered]:
        """Return what was known; nothing where the file is damaged, which is logged."""
        file = self._directory / FILE
        try:
            with file.open("rb") as stream:  # what is cut off is no JSON
                return dict(_read(json.loads(stream.read(_OCTETS_MAX))))
        except FileNotFoundError:
            return {}
        except OSError as error:
            _log.warning("%s: routes are not known any more: %s", file, error.strerror)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            _log.warning("%s: routes are not known any more: %s", file, error)
        return {}

    def save(self, known: Mapping[SeriesKey, Remembered], *, ending: bool = False) -> None:
        """Write what is known now, if it changed, or now and then; blocks until it is on the disk.

        A disk that does not take it is logged: then changes during a restart are not told.
        """
        routes = {
            key: (each.way, tuple(sight.route for sight in each.sights))
            for key, each in known.items()
        }
        fresh = self._clock() - self._written_s < SEEN_EVERY_S
        if routes == self._written and fresh and not ending:
            return
        text = json.dumps({"version": _VERSION, "paths": list(_write(known))})
        try:
            replace_durably(self._directory, FILE, text.encode())
        except OSError as error:
            _log.warning("%s: %s: not written: %s", self._directory, FILE, error.strerror)
            return
        self._written, self._written_s = routes, self._clock()


def _write(known: Mapping[SeriesKey, Remembered]) -> Iterator[dict[str, Any]]:
    for key, each in known.items():
        way = each.way
        yield {
            "src": key.path.src,
            "dst": key.path.dst,
            "class": key.path.traffic_class,
            "probe": key.probe.value,
            "target": way.target,
            "protocol": way.protocol.value,
            "port": way.port,
            "source_port": way.source_port,
            "dscp": way.dscp,
            "flows": [
                {
                    "flow": sight.route.flow,
                    "seen": sight.seen_ns,
                    "reached": sight.route.reached,
                    "hops": [str(hop) for hop in sight.route.hops],
                }
                for sight in each.sights
            ],
        }


def _read(found: dict[str, Any]) -> Iterator[tuple[SeriesKey, Remembered]]:
    if found["version"] != _VERSION:
        raise ValueError(f"version {found['version']!r}, expected {_VERSION}")
    for each in found["paths"]:
        path = Path(each["src"], each["dst"], each["class"])
        protocol = TraceProtocol(each["protocol"])
        way = Way(each["target"], protocol, each["port"], each["source_port"], each["dscp"])
        sights = tuple(_sight(flow, protocol) for flow in each["flows"])
        yield SeriesKey(path, ProbeKind(each["probe"])), Remembered(way, sights)


def _sight(found: dict[str, Any], protocol: TraceProtocol) -> Sight:
    flow, seen_ns, reached, hops = (found[name] for name in ("flow", "seen", "reached", "hops"))
    if type(flow) is not int or not 0 <= flow < FLOWS_MAX:
        raise ValueError(f"flow {flow!r}, expected 0 to {FLOWS_MAX - 1}")
    if type(seen_ns) is not int or not 0 < seen_ns < 1 << 63:
        raise ValueError(f"seen {seen_ns!r}, expected Unix nanoseconds")
    if type(reached) is not bool or type(hops) is not list or len(hops) > HOPS_MAX:
        raise ValueError(f"a route with more than {HOPS_MAX} hops, or none")
    return Sight(Route(flow, protocol, tuple(map(Hop.parse, hops)), reached), seen_ns)
