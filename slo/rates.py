"""Slices of time of a bandwidth: judged by what capacity tests told.

A slice is good when each of its readings is at least the objective's limit, as a share of 1 in
`timeSliceTarget` says, and unmeasured without any. A path's slices begin with the first reading
that the store still has: of a path that is not tested nothing is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics.readings import Reading
from analytics.store import WindowStore
from analytics.streams import EVENT_FIELDS
from netslo.metrics import BANDWIDTH
from netslo.model import NS_PER_S, Path
from slo.objective import Indicator, Objective

GRACE_S: Final = 60  # in which the last reading of a slice that is over has come

_GOOD, _BAD, _UNMEASURED = (EVENT_FIELDS.index(f) for f in ("good", "bad", "unmeasured"))

Counts = NDArray[np.int64]  # (rows, slices, fields)


@dataclass(frozen=True, slots=True)
class Kind:
    """Which capacity tests tell a bandwidth: figures of different ones do not mix."""

    direction: str
    method: str

    @classmethod
    def of(cls, objective: Objective) -> Kind:
        """Return the kind by which an objective of bandwidth is judged."""
        if objective.indicator is not Indicator.BANDWIDTH or objective.method is None:
            raise ValueError(f"{objective.name} is no objective of bandwidth")
        return cls(objective.direction.value, objective.method)

    def between(self, store: WindowStore, start_s: int, end_s: int) -> list[Reading]:
        """Return the readings of this kind in [start_s, end_s), of every path, by time."""
        return store.readings_between(BANDWIDTH, self.direction, self.method, start_s, end_s)

    def begins(self, store: WindowStore) -> dict[Path, int]:
        """Return when the first reading of each path was measured; Unix ns."""
        return store.first_readings(BANDWIDTH, self.direction, self.method)


def judge_rates(
    store: WindowStore,
    objective: Objective,
    start_s: int,
    end_s: int,
    begins: Mapping[Path, int] | None = None,
) -> tuple[list[Path], Counts]:
    """Judge the slices of [start_s, end_s), which is whole slices, on every path that was tested.

    `begins` is what `Kind.begins` says, for who asks for one part after another.

    Returns:
        The paths, and their good, bad and unmeasured slices, shape (paths, slices, 3).
    """
    slices, kind = objective.slices, Kind.of(objective)
    assert slices is not None
    assert objective.limit is not None
    begins = kind.begins(store) if begins is None else begins
    paths = sorted(begins)
    rows = {path: row for row, path in enumerate(paths)}
    shape = len(paths), (end_s - start_s) // slices.length_s
    readings = [each for each in kind.between(store, start_s, end_s) if each.path in rows]
    at = [
        np.array([rows[each.path] for each in readings], dtype=np.intp),
        _places([each.seen_ns for each in readings], start_s, slices.length_s),
    ]
    least = np.full(shape, np.inf)
    np.minimum.at(least, tuple(at), np.array([each.value for each in readings], dtype=np.float64))
    first = _places([begins[path] for path in paths], start_s, slices.length_s)
    known = np.isfinite(least)
    judged = np.zeros((*shape, len(EVENT_FIELDS)), dtype=np.int64)
    judged[:, :, _GOOD] = known & (least >= objective.limit)
    judged[:, :, _BAD] = known & (least < objective.limit)
    judged[:, :, _UNMEASURED] = ~known & (np.arange(shape[1]) >= first[:, np.newaxis])
    return paths, judged * slices.events_per_slice


def _places(times_ns: Sequence[int], start_s: int, length_s: int) -> NDArray[np.intp]:
    """Return in which slice each moment is, from the one that begins at `start_s` on."""
    lengths = [(at_ns - start_s * NS_PER_S) // (length_s * NS_PER_S) for at_ns in times_ns]
    return np.array(lengths, dtype=np.intp)
