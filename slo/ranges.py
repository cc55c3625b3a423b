"""What was spent over many ranges that all end now, with each moment read once.

The ranges are nested: an hour is five minutes and the 55 before. So the store is asked for the
parts between the beginnings, and the parts are added up.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from typing import Final

from analytics.store import SloTotals, WindowStore
from analytics.store.interface import DAY_S, HOT_S, WARM_S
from analytics.windows import ALL, Selector
from netslo.model import Path
from slo.budget import Spend, budget_events
from slo.exclusion import Exclusion, touching
from slo.objective import Objective
from slo.rates import GRACE_S
from slo.slice_reader import Days, spends_by_slice
from slo.targets import Targets

SETTLED_S: Final = 6 * 3600
_NOTHING: Final = Fraction(0)

SpendKey = tuple[str, Path]  # objective's name, path
Spends = dict[SpendKey, Spend]


def add_up(totals: Iterable[SloTotals]) -> Spends:
    """Add the totals of each objective and path, whatever targets they were under."""
    found: Spends = {}
    # A text takes longer to read than all else here.
    budget_of_one = functools.cache(lambda text: budget_events(Fraction(text), 1))
    for total in totals:
        counts, key = total.counts, (total.slo, total.path)
        share, events, unmeasured = budget_of_one(total.target), counts.events, counts.unmeasured
        missing = share * unmeasured if unmeasured else _NOTHING
        spend = Spend(events, counts.bad, unmeasured, share * events, missing)
        found[key] = found[key] + spend if key in found else spend
    return found


@dataclass(slots=True)
class Ranges:
    """Reads ranges, and remembers what is older than six hours until the next 5 min boundary.

    So one reader that is asked again and again pays for 28 days once in 5 min. What comes in
    more than six hours late shows as much later, in days of slices up to six hours after that; a
    new reader sees everything at once.

    Of packets what `selector` matches is read, else all. What lies in `exclusions` does not count.
    What lies between two `cuts` is read once, for who
    asks at one moment for nested ranges and for days: see `cuts_at`.
    """

    store: WindowStore
    exclusions: Sequence[Exclusion] = ()
    objectives: Sequence[Objective] = ()  # those of them by time slice are judged by slices
    cuts: Collection[int] = ()
    selector: Selector = ALL
    _between: dict[tuple[int, int], Spends] = field(default_factory=dict, init=False, repr=False)
    _anchor_s: int | None = field(default=None, init=False)
    _settled: dict[tuple[int, int], Spends] = field(default_factory=dict, init=False, repr=False)
    _days: Days = field(default_factory=dict, init=False, repr=False)  # of slices, settled

    def read(self, now_s: float, lengths_s: Collection[int]) -> dict[int, Spends]:
        """Return the spends over the last `length_s` seconds, for each length.

        A range ends at `now_s` aligned down to 10 s. It begins so much earlier, or, if it is
        longer than six hours, so much before the last 5 min boundary.
        """
        end_s, anchor_s = _align(now_s, HOT_S), _align(now_s, WARM_S)
        if anchor_s != self._anchor_s:
            if self._anchor_s is None or anchor_s // SETTLED_S != self._anchor_s // SETTLED_S:
                self._days.clear()  # what came late, or was read by a clock ahead, shows now
            self._anchor_s = anchor_s
            self._settled.clear()
        starts = {length_s: _start(end_s, anchor_s, length_s) for length_s in lengths_s}
        edges = sorted(cuts_at(now_s, lengths_s), reverse=True)
        spends: Spends = {}
        by_start = {end_s: spends}
        for high_s, low_s in pairwise(edges):
            if low_s < min(starts.values(), default=end_s):
                break
            spends = _merge(spends, self._part(low_s, high_s))
            by_start[low_s] = spends
        return {length_s: by_start[start_s] for length_s, start_s in starts.items()}

    def whole(self) -> Ranges:
        """Return who reads the same as if no time had been excluded; for who has `cuts`.

        What was read between them, and no exclusion touches, is not read again.
        """
        longest_s = max((o.slices.length_s for o in self.objectives if o.slices), default=0)
        before_s = longest_s + GRACE_S  # a slice that ends in a part may have begun before
        found = replace(self, exclusions=())
        found._between.update(  # noqa: SLF001 - one of ours
            (part, spends)
            for part, spends in self._between.items()
            if not touching(self.exclusions, part[0] - before_s, part[1])
        )
        return found

    def span(self, now_s: float, length_s: int) -> tuple[int, int]:
        """Return from when to when such a range is, Unix seconds."""
        return span_at(now_s, length_s)

    def targets(self) -> Targets:
        """Return those that the objectives had."""
        return self.store.targets()

    def count(self, start_s: int, end_s: int) -> Spends:
        """Return what was spent in [start_s, end_s), read anew."""
        return self._count(start_s, end_s, None)

    def _part(self, start_s: int, end_s: int) -> Spends:
        if self._anchor_s is None or end_s > self._anchor_s - SETTLED_S:
            return self._count(start_s, end_s, None)
        key = start_s, end_s
        if key not in self._settled:
            self._settled[key] = self._count(start_s, end_s, self._days)
        return self._settled[key]

    def _count(self, start_s: int, end_s: int, days: Days | None) -> Spends:
        if not self.cuts:
            return self._read(start_s, end_s, days)
        found: Spends = {}
        for part in self._parts(start_s, end_s):
            if part not in self._between:
                self._between[part] = self._read(*part, None)
            found = _merge(found, self._between[part]) if found else self._between[part]
        return found

    def _parts(self, start_s: int, end_s: int) -> Iterator[tuple[int, int]]:
        """Yield whole days, which the store has added up, and the rest between cuts."""
        midnights = range(_align(start_s, DAY_S) + DAY_S, end_s, DAY_S)
        for low_s, high_s in pairwise([start_s, *midnights, end_s]):
            whole = high_s - low_s == DAY_S
            inside = () if whole else {cut_s for cut_s in self.cuts if low_s < cut_s < high_s}
            yield from pairwise(sorted({low_s, high_s, *inside}))

    def _read(self, start_s: int, end_s: int, days: Days | None) -> Spends:
        found: Spends = {}
        for low_s, high_s, in_force in cut(start_s, end_s, self.exclusions):
            counts = add_up(self.store.slo_counts(self.selector, low_s, high_s))
            if in_force:
                counts = {key: s for key, s in counts.items() if not covered(key, in_force)}
            found = _merge(found, counts) if found else counts
        sliced = {o.name for o in self.objectives if o.slices is not None}
        if not sliced:
            return found
        # The probe counted packets for these.
        packets = {key: spend for key, spend in found.items() if key[0] not in sliced}
        return packets | spends_by_slice(
            self.store, self.objectives, start_s, end_s, self.exclusions, days
        )


def span_at(now_s: float, length_s: int) -> tuple[int, int]:
    """Return from when to when a range of this length is that is read from the store."""
    end_s = _align(now_s, HOT_S)
    return _start(end_s, _align(now_s, WARM_S), length_s), end_s


def cuts_at(now_s: float, lengths_s: Iterable[int]) -> frozenset[int]:
    """Return where ranges of these lengths begin and end."""
    edges = {edge for length_s in lengths_s for edge in span_at(now_s, length_s)}
    return frozenset({_align(now_s, HOT_S), _align(now_s, WARM_S) - SETTLED_S, *edges})


def cut(
    start_s: int, end_s: int, exclusions: Iterable[Exclusion]
) -> Iterator[tuple[int, int, list[Exclusion]]]:
    """Part a span wherever an exclusion begins or ends; yield each part with those in force."""
    near = touching(exclusions, start_s, end_s)
    edges = {start_s, end_s, *(edge for x in near for edge in x.interval)}
    inside = sorted(edge for edge in edges if start_s <= edge <= end_s)
    for low_s, high_s in pairwise(inside):
        yield low_s, high_s, [x for x in near if x.start_s <= low_s < x.end_s]


def covered(key: SpendKey, exclusions: Iterable[Exclusion]) -> bool:
    """Whether an objective on a path is excluded by any of these."""
    return any(x.covers.matches(*key) for x in exclusions)


def _align(unix_s: float, step_s: int) -> int:
    return int(unix_s // step_s) * step_s


def _start(end_s: int, anchor_s: int, length_s: int) -> int:
    if length_s <= SETTLED_S:
        return end_s - length_s
    return _align(anchor_s - length_s, WARM_S)


def _merge(near: Spends, far: Spends) -> Spends:
    """Return the sums; neither side is changed."""
    merged = dict(near)
    for key, spend in far.items():
        merged[key] = merged[key] + spend if key in merged else spend
    return merged
