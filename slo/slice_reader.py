"""Objectives by time slice, from what a store has of their packets, or of capacity tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from analytics.frame import Frame
from analytics.store import SloTotals, WindowStore
from analytics.store.eras import era_at
from analytics.store.interface import DAY_S, WARM_S
from analytics.streams import EVENT_FIELDS, Events, Streams
from analytics.windows import SloCounts
from netslo.model import Path
from slo.budget import Spend
from slo.exclusion import Exclusion, clip, excluded_times
from slo.objective import Indicator, Objective
from slo.rates import GRACE_S, Counts, Kind, judge_rates
from slo.slices import PARTS, TimeSlices

_GOOD, _BAD, _UNMEASURED = (EVENT_FIELDS.index(f) for f in ("good", "bad", "unmeasured"))
_ELSEWHERE: Final = -1

Days = dict[tuple[str, int], dict[tuple[str, Path], Spend]]  # by reader and midnight


def spends_by_slice(
    store: WindowStore,
    objectives: Sequence[Objective],
    start_s: int,
    end_s: int,
    exclusions: Sequence[Exclusion] = (),
    days: Days | None = None,
) -> dict[tuple[str, Path], Spend]:
    """Return the spends of the slices which ended in (start_s, end_s], by objective and path.

    A slice of which the store has nothing at all is not counted. One whose 10 s windows have
    expired, and which is shorter than what is left of them, is unmeasured. Those of bandwidth
    are taken to end a minute later than they do, for the last reading to come.

    Args:
        store: Where packets and readings are.
        objectives: Those of them by time slice are read.
        start_s: Unix seconds.
        end_s: Unix seconds.
        exclusions: Slices that touch one do not count.
        days: Whole days that were read before, for the same objectives and exclusions; those
            of this range are added, so it must be of the past.
    """
    found: dict[tuple[str, Path], Spend] = {}
    for reader in _readers(store, objectives, exclusions):
        for low_s, high_s in _by_day(*reader.ended_in(start_s, end_s)):
            part = None if days is None else days.get((reader.id, low_s))
            if part is None or high_s - low_s < DAY_S:
                part = reader.read(low_s, high_s)
                if days is not None and high_s - low_s == DAY_S:
                    days[reader.id, low_s] = part
            for key, spend in part.items():
                found[key] = found[key] + spend if key in found else spend
    return found


def _by_day(start_s: int, end_s: int) -> Iterator[tuple[int, int]]:
    """Part a range at midnights, UTC."""
    while start_s < end_s:
        next_s = min(end_s, start_s // DAY_S * DAY_S + DAY_S)
        yield start_s, next_s
        start_s = next_s


def slices_by_target(
    store: WindowStore, objective: Objective, start_s: int, end_s: int
) -> dict[Path, list[SloTotals]]:
    """Return the slices that `spends_by_slice` counts, each target apart, none excluded."""
    found: dict[tuple[Path, str], SloCounts] = {}
    for reader in _readers(store, [objective], ()):
        for (_, path), target, counts in reader.counts(*reader.ended_in(start_s, end_s)):
            found.setdefault((path, target), SloCounts()).add(counts)
    by_path: dict[Path, list[SloTotals]] = {}
    for (path, target), counts in sorted(found.items()):
        by_path.setdefault(path, []).append(SloTotals(path, objective.name, target, counts))
    return by_path


class _Source(Protocol):
    """Knows the slices of one length of some objectives."""

    grace_s: int  # how much later than they end they count

    def judged(self, start_s: int, end_s: int) -> tuple[Sequence[tuple[str, Path]], Counts]:
        """Return rows, and their events in the slices of [start_s, end_s), whole slices."""


def _readers(
    store: WindowStore, objectives: Sequence[Objective], exclusions: Sequence[Exclusion]
) -> Iterator[_Reader]:
    """Yield who reads the slices of each length: those of packets together, each bandwidth's."""
    by_length: dict[int, dict[str, Objective]] = {}
    for objective in objectives:
        if objective.slices is None:
            continue
        length_s = objective.slices.length_s
        if objective.indicator is Indicator.BANDWIDTH:
            rates = _Rates(store, objective)
            yield _Reader(
                objective.name, store, {objective.name: objective}, length_s, exclusions, rates
            )
        else:
            by_length.setdefault(length_s, {})[objective.name] = objective
    for length_s, of_length in sorted(by_length.items()):
        packets = _Packets(store, of_length, length_s)
        yield _Reader(f"{length_s} s", store, of_length, length_s, exclusions, packets)


@dataclass(slots=True)
class _Reader:
    """Reads the slices of one length, some of them at a time."""

    id: str  # no name of an objective has a space
    store: WindowStore
    objectives: dict[str, Objective]
    length_s: int
    exclusions: Sequence[Exclusion]
    source: _Source

    def ended_in(self, start_s: int, end_s: int) -> tuple[int, int]:
        """Return the span of the slices that count in (start_s, end_s]."""
        low_s, high_s = (
            (at_s - self.source.grace_s) // self.length_s * self.length_s
            for at_s in (start_s, end_s)
        )
        return low_s, high_s

    def read(self, start_s: int, end_s: int) -> dict[tuple[str, Path], Spend]:
        """Return the spends of [start_s, end_s), which is whole slices."""
        found: dict[tuple[str, Path], Spend] = {}
        for key, target, counts in self.counts(start_s, end_s):
            spend = Spend.under(Fraction(target), counts.events, counts.bad, counts.unmeasured)
            found[key] = found.get(key, Spend()) + spend
        return found

    def counts(self, start_s: int, end_s: int) -> Iterator[tuple[tuple[str, Path], str, SloCounts]]:
        """Yield what there is of each row under each target in [start_s, end_s)."""
        slices = (end_s - start_s) // self.length_s
        keys, judged = self.source.judged(start_s, end_s)
        if not keys or not slices:
            return
        touching = [x for x in self.exclusions if x.start_s < end_s and start_s < x.end_s]
        eras = self.store.targets()
        by_target = {
            name: list(
                self._by_target(list(eras.get(name) or [(0, o.target_text)]), start_s, slices)
            )
            for name, o in self.objectives.items()
        }
        for (name, path), of_row in zip(keys, judged, strict=True):
            for low_s, high_s in clip(excluded_times(touching, name, path), start_s, end_s):
                last = -((start_s - high_s) // self.length_s)
                of_row[(low_s - start_s) // self.length_s : last] = 0
            for target, rows in by_target[name]:
                good, bad, unmeasured = of_row[rows].sum(axis=0).tolist()
                if good or bad or unmeasured:
                    yield (name, path), target, SloCounts(good, bad, unmeasured)

    def _by_target(
        self, eras: list[tuple[int, str]], start_s: int, slices: int
    ) -> Iterator[tuple[str, slice]]:
        """Yield each target with the slices that began under it."""
        targets = [era_at(eras, start_s + n * self.length_s)[1] for n in range(slices)]
        begin = 0
        for end in range(1, slices + 1):
            if end == slices or targets[end] != targets[begin]:
                yield targets[begin], slice(begin, end)
                begin = end


@dataclass(slots=True)
class _Rates:
    """Slices of one objective of bandwidth."""

    store: WindowStore
    objective: Objective
    grace_s: int = GRACE_S
    _begins: dict[Path, int] | None = None  # a query for each path: once, not for each day

    def judged(self, start_s: int, end_s: int) -> tuple[Sequence[tuple[str, Path]], Counts]:
        if self._begins is None:
            self._begins = Kind.of(self.objective).begins(self.store)
        paths, counts = judge_rates(self.store, self.objective, start_s, end_s, self._begins)
        return [(self.objective.name, path) for path in paths], counts


@dataclass(slots=True)
class _Packets:
    """Slices of one length that packets judge."""

    store: WindowStore
    objectives: dict[str, Objective]
    length_s: int
    grace_s: int = 0
    _known: tuple[list[tuple[str, Path]], NDArray[np.int64]] | None = None

    def judged(self, start_s: int, end_s: int) -> tuple[Sequence[tuple[str, Path]], Counts]:
        with closing(self.store.history()) as history:
            window_s = min(self.length_s, WARM_S)
            frames = list(history.frames(start_s, end_s, window_s, distributions=False))
        keys, places = self._places(self.store.streams)
        shape = len(keys), (end_s - start_s) // self.length_s, len(EVENT_FIELDS)
        counts = np.zeros(shape, dtype=np.int64)
        if keys:
            for frame in frames:
                self._add(frame, places, counts, start_s)
        for row, (name, _) in enumerate(keys):
            slices = self.objectives[name].slices
            assert slices is not None
            counts[row] = judge_all(slices, counts[row])
        return keys, counts

    def _places(self, streams: Streams) -> tuple[list[tuple[str, Path]], NDArray[np.int64]]:
        """Return the rows, and by stream the row and field in one number."""
        if self._known is not None and len(self._known[1]) == len(streams):
            return self._known
        rows: dict[tuple[str, Path], int] = {}
        places = np.full(len(streams), _ELSEWHERE, dtype=np.int64)
        for number, stream in enumerate(streams):
            about = stream.about
            if number < len(places) and isinstance(about, Events) and about.slo in self.objectives:
                row = rows.setdefault((about.slo, stream.series.path), len(rows))
                places[number] = row * len(EVENT_FIELDS) + EVENT_FIELDS.index(about.field)
        self._known = list(rows), places
        return self._known

    def _add(self, frame: Frame, places: NDArray[np.int64], counts: Counts, start_s: int) -> None:
        counters = frame.counters
        known = counters.stream < len(places)  # others came while this was read
        place = np.where(known, places[np.where(known, counters.stream, 0)], _ELSEWHERE)
        ours = place >= 0
        row, field = np.divmod(place[ours], len(EVENT_FIELDS))
        at = (counters.start_s[ours] - start_s) // self.length_s
        value = counters.value[ours].astype(np.int64)
        if frame.length_s <= self.length_s:
            np.add.at(counts, (row, at, field), value)
            return
        for offset in range(frame.length_s // self.length_s):
            inside = at + offset < counts.shape[1]
            where = row[inside], (at + offset)[inside]
            counts[(*where, np.full(len(where[0]), _UNMEASURED))] = 1


def judge_all(slices: TimeSlices, packets: Counts) -> Counts:
    """Judge slices at once, as `TimeSlices.judge` does one by one.

    Args:
        slices: How.
        packets: Good, bad and unmeasured packets, shape (slices, 3). A slice without any is
            no slice.

    Returns:
        Good, bad and unmeasured events, shape (slices, 3).
    """
    good, bad = packets[:, _GOOD], packets[:, _BAD]
    events, unit = good + bad, slices.events_per_slice
    judged = np.zeros_like(packets)
    measured = events >= max(1, slices.packets_min)
    judged[:, _UNMEASURED] = np.where(~measured & (packets.sum(axis=1) > 0), unit, 0)
    if slices.good_ratio_min is None:
        share = (2 * PARTS * bad + events) // np.maximum(2 * events, 1)
        is_bad = np.where(measured, share, 0)
    else:
        sizes, which = np.unique(events, return_inverse=True)
        least = [-(-slices.good_ratio_min * size // 1) for size in sizes.tolist()]  # rounded up
        needed = np.array([int(n) for n in least], dtype=np.int64)
        is_bad = np.where(measured & (good < needed[which]), unit, 0)
    judged[:, _BAD] = is_bad
    judged[:, _GOOD] = np.where(measured, unit - is_bad, 0)
    return judged
