"""What the store of a run knows of the real link's path: changes of its route, and capacity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from analytics.readings import Reading
from analytics.store import WindowStore
from analytics.windows import CAPACITY_TEST, CountKey, Selector
from netslo import metrics
from netslo.app.lab.network import BACKUP_BIT_S, PRIMARY_BIT_S
from netslo.model import NS_PER_S, WINDOW_S, Path, Window
from netslo.route import RouteObservation

_AT_MOST: Final = 200
_LATER_S: Final = 2**33
_TEST_S: Final = 15.0  # the longest that one test of the demo takes
_FRAME: Final = 1514  # octets that the token bucket counts of a full packet
_OF_FRAME: Final = {"train": 1500, "tcp": 1448}  # of these: IP packet, and data of a segment


@dataclass(frozen=True, slots=True)
class Findings:
    """Oldest first; since a run began."""

    routes: Sequence[RouteObservation]  # as seen last, of each flow
    changes: Sequence[RouteObservation]
    readings: Sequence[Reading]

    def first_change(
        self, failed_s: float | None, mended_s: float | None
    ) -> RouteObservation | None:
        """Return the first change seen while a branch did not work; None: there is none."""
        if failed_s is None:
            return None
        until_s = math.inf if mended_s is None else mended_s
        return next(
            (each for each in self.changes if failed_s <= each.seen_ns / NS_PER_S < until_s), None
        )


def read_findings(store: WindowStore, path: Path, since_s: float) -> Findings:
    """Return what is known of a path since a moment, Unix seconds."""
    readings = [
        reading
        for metric in (metrics.BANDWIDTH, metrics.LOADED_RTT)
        for reading in store.readings(metric, path, since_s, math.inf, _AT_MOST)
    ]
    return Findings(
        routes=[latest.told for latest in store.routes(path)],
        changes=store.path_changes(path, since_s, math.inf, _AT_MOST)[::-1],
        readings=sorted(readings, key=lambda each: (each.seen_ns, each.direction, each.method)),
    )


def spoilt_windows(store: WindowStore, path: Path, since_s: float) -> set[Window]:
    """Return the windows whose packets count for nothing, since a capacity test loaded the path."""
    start_s = int(since_s) // WINDOW_S * WINDOW_S
    key = CountKey(metrics.SET_ASIDE, CAPACITY_TEST)
    windows = store.windows(Selector(path=path.id), start_s, _LATER_S)
    return {each.window for each in windows if each.counts[key]}


def true_bit_s(reading: Reading, failed_s: float | None, mended_s: float | None) -> float | None:
    """Return what the token bucket let through for a reading; None: the branch changed meanwhile.

    Trains count IP packets, TCP its data.
    """
    share = _OF_FRAME.get(reading.method)
    if reading.metric != metrics.BANDWIDTH or share is None:
        return None
    ended_s = reading.seen_ns / NS_PER_S
    began_s = ended_s - _TEST_S
    if any(at is not None and began_s < at <= ended_s for at in (failed_s, mended_s)):
        return None
    backup = failed_s is not None and failed_s <= began_s and not (mended_s or math.inf) <= began_s
    return (BACKUP_BIT_S if backup else PRIMARY_BIT_S) * share / _FRAME
