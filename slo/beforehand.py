"""Which times counters leave out: of each exclusion, what nobody had counted when it was known.

A counter never goes back, so an exclusion cannot take out of it what is in it. Nor may it stand
still until that is made up for: an outage in the meantime would not be seen. So each exclusion
holds from a moment on, a 5 min boundary, and what was once decided of a time stays so, whatever is
declared, changed or taken back later.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from slo.exclusion import STEP_S, Exclusion, Interval, clip, merge, next_step, remaining
from slo.exclusion_log import read_exclusion, to_json

_AHEAD_S: Final = 2 * STEP_S  # windows of a clock ahead are taken from so far in the future

Counted = Callable[[Exclusion, int, int], bool]


class Beforehand:
    """The parts of exclusions that counters leave out, as exclusions. Not thread-safe.

    Args:
        times: What was decided before; None where nobody has counted anything yet.
        counted: Whether there is anything in [start_s, end_s) that an exclusion is about.
    """

    def __init__(self, times: Iterable[Exclusion] | None, counted: Counted) -> None:
        self._times = None if times is None else tuple(times)
        self._counted = counted

    @property
    def times(self) -> tuple[Exclusion, ...]:
        return self._times or ()

    def follow(self, exclusions: Sequence[Exclusion], now_s: float) -> bool:
        """Take up what is declared now; return whether anything changed."""
        before, next_s = self._times, next_step(now_s)
        ahead_s = next_s + _AHEAD_S
        by_matter = {_matter(x): x for x in exclusions}
        found = [
            part
            for time in self.times
            for part in _kept(time, by_matter.get(_matter(time)), next_s)
        ]
        intervals: dict[object, list[Interval]] = {}
        for time in found:
            intervals.setdefault(_matter(time), []).append(time.interval)
        for x in exclusions:
            own = merge(intervals.get(_matter(x), ()))
            for low_s, high_s in remaining(own, x.counted_until_s, x.end_s):
                if any(high_s == start_s for start_s, _ in own) and high_s <= next_s:
                    continue  # it was known too late for this
                begin_s = low_s
                if before is not None and low_s < ahead_s:
                    begin_s = self._free_from(x, low_s, min(high_s, ahead_s))
                if begin_s < high_s:
                    found.append(replace(x, start_s=begin_s, end_s=high_s))
        self._times = _joined(found)
        return self._times != before

    def _free_from(self, x: Exclusion, start_s: int, end_s: int) -> int:
        """Return the first boundary from which on nothing is counted that `x` is about."""
        back_s = STEP_S  # mostly the last minutes say it, and the rest need not be read
        while back_s < end_s - start_s and not self._counted(x, end_s - back_s, end_s):
            back_s *= 2
        steps = range(max(start_s, end_s - back_s), end_s, STEP_S)

        def nothing_after(step_s: int) -> int:
            return int(not self._counted(x, step_s, end_s))

        place = bisect_left(steps, 1, key=nothing_after)
        return steps[place] if place < len(steps) else end_s

    def to_json(self) -> list[dict[str, Any]] | None:
        """Return what `times_of` reads."""
        return None if self._times is None else [to_json(time) for time in self._times]


def times_of(data: Any) -> tuple[Exclusion, ...] | None:
    """Read what `Beforehand.to_json` returned.

    Raises:
        ValueError: it is something else.
    """
    if data is None:
        return None

    def report(field: str, value: str, expected: str) -> None:
        raise ValueError(f"{field} {value}: {expected}")

    return tuple(time for each in data if (time := read_exclusion(each, report)))


def _kept(time: Exclusion, declared: Exclusion | None, next_s: int) -> Iterator[Exclusion]:
    """Yield what of a time is past, and what of the rest is still declared."""
    parts = clip([time.interval], time.start_s, next_s)
    if declared is not None:
        parts += clip([(max(time.start_s, next_s), time.end_s)], *declared.interval)
    for start_s, end_s in parts:
        yield replace(time, start_s=start_s, end_s=end_s)


def _joined(times: Iterable[Exclusion]) -> tuple[Exclusion, ...]:
    """Return the same times, those about the same made one where they touch."""
    by_matter: dict[object, list[Exclusion]] = {}
    for time in times:
        by_matter.setdefault(_matter(time), []).append(time)
    return tuple(
        replace(same[0], start_s=start_s, end_s=end_s)
        for same in by_matter.values()
        for start_s, end_s in merge(time.interval for time in same)
    )


def _matter(x: Exclusion) -> tuple[object, ...]:
    return x.id, x.covers
