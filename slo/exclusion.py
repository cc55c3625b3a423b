"""Times that do not count: maintenance declared before or after, with who and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from analytics.store.interface import WARM_S
from netslo.model import Path

Interval = tuple[int, int]  # half-open [start_s, end_s), Unix seconds

STEP_S: Final = WARM_S  # of what is kept for weeks, so that a figure never depends on its age
TIME_MAX_S: Final = 253_402_300_500  # 9999-12-31T23:55:00Z: the last step that can be written
LENGTH_MAX_S: Final = 366 * 86_400  # what is off for longer belongs out of the selectors
REASON_LENGTH_MAX: Final = 500
AUTHOR_LENGTH_MAX: Final = 100


class ExclusionKind(StrEnum):
    """When an exclusion became known, next to when it holds."""

    PLANNED = "planned"  # declared before it began: its events are never counted
    RETROACTIVE = "retroactive"  # declared later: what counters have of it stays in them


@dataclass(frozen=True, slots=True)
class Covers:
    """What an exclusion is about: every field must match; an empty one matches all."""

    slos: frozenset[str] = frozenset()
    paths: frozenset[Path] = frozenset()
    sites: frozenset[str] = frozenset()  # at either end of a path

    @property
    def whole(self) -> bool:
        """Whether this is about all paths of its sites, for all objectives."""
        return not self.slos and not self.paths

    def has_site(self, site: str) -> bool:
        """Whether this is about a site as a whole, so about its probe."""
        return self.whole and (not self.sites or site in self.sites)

    def matches(self, slo: str, path: Path) -> bool:
        return (
            (not self.slos or slo in self.slos)
            and (not self.paths or path in self.paths)
            and (not self.sites or path.src in self.sites or path.dst in self.sites)
        )


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A time which does not count for some objectives on some paths.

    Times are Unix seconds, UTC, in whole 5 min; [start_s, end_s) is half-open, and at most a year.

    Raises:
        ValueError: fields are not what they must be, in words for the author of the exclusion.
    """

    id: str
    start_s: int
    end_s: int
    author: str
    reason: str
    declared_s: int
    covers: Covers = field(default_factory=Covers)

    def __post_init__(self) -> None:
        faults = [] if self.id else ["id must not be empty"]
        for name, value in (("start", self.start_s), ("end", self.end_s)):
            if value % STEP_S:
                faults.append(f"{name} must be a time in whole {STEP_S // 60} minutes")
        times = (("start", self.start_s), ("end", self.end_s), ("declared", self.declared_s))
        faults += [
            f"{name} must be from 1970-01-01T00:00:00Z to 9999-12-31T23:55:00Z"
            for name, value in times
            if not 0 <= value <= TIME_MAX_S
        ]
        if self.end_s <= self.start_s:
            faults.append("end must be later than start")
        elif self.end_s - self.start_s > LENGTH_MAX_S:
            faults.append(f"end must be at most {LENGTH_MAX_S // 86_400} days after start")
        if not self.author.strip() or len(self.author) > AUTHOR_LENGTH_MAX:
            faults.append(f"author must say who, in at most {AUTHOR_LENGTH_MAX} characters")
        if not self.reason.strip() or len(self.reason) > REASON_LENGTH_MAX:
            faults.append(f"reason must say why, in at most {REASON_LENGTH_MAX} characters")
        if faults:
            raise ValueError("; ".join(faults))

    @property
    def kind(self) -> ExclusionKind:
        """Planned when it was declared before it began."""
        planned = self.declared_s <= self.start_s
        return ExclusionKind.PLANNED if planned else ExclusionKind.RETROACTIVE

    @property
    def counted_until_s(self) -> int:
        """When counters begin to leave it out; what came before stays in them."""
        return min(self.end_s, max(self.start_s, next_step(self.declared_s)))

    def excludes(self, key: tuple[str, Path]) -> bool:
        """Whether this is about an objective, by name, on a path."""
        return self.covers.matches(*key)

    @property
    def interval(self) -> Interval:
        return self.start_s, self.end_s


def touching(exclusions: Iterable[Exclusion], start_s: float, end_s: float) -> list[Exclusion]:
    """Return those of which some time lies in [start_s, end_s)."""
    return [x for x in exclusions if x.start_s < end_s and start_s < x.end_s]


def next_step(unix_s: float) -> int:
    """Return the first 5 min boundary at or after a moment."""
    return -int(-unix_s // STEP_S) * STEP_S


def one_line(text: str) -> str:
    """Return text without what would break a line, or move a terminal's cursor."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def merge(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    """Return the same times sorted, with overlapping and touching intervals made one."""
    merged: list[Interval] = []
    for start_s, end_s in sorted(intervals):
        if merged and start_s <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end_s)
        else:
            merged.append((start_s, end_s))
    return tuple(merged)


def clip(intervals: Iterable[Interval], start_s: int, end_s: int) -> tuple[Interval, ...]:
    """Return the parts of merged intervals within [start_s, end_s)."""
    parts = ((max(low_s, start_s), min(high_s, end_s)) for low_s, high_s in intervals)
    return tuple((low_s, high_s) for low_s, high_s in parts if low_s < high_s)


def remaining(intervals: Iterable[Interval], start_s: int, end_s: int) -> tuple[Interval, ...]:
    """Return the parts of [start_s, end_s) that merged intervals leave."""
    left: list[Interval] = []
    for low_s, high_s in clip(intervals, start_s, end_s):
        if start_s < low_s:
            left.append((start_s, low_s))
        start_s = high_s
    if start_s < end_s:
        left.append((start_s, end_s))
    return tuple(left)


def excluded_times(exclusions: Iterable[Exclusion], slo: str, path: Path) -> tuple[Interval, ...]:
    """Return when nothing counts for one objective on one path, merged."""
    return merge(e.interval for e in exclusions if e.covers.matches(slo, path))


def is_excluded(
    exclusions: Iterable[Exclusion], slo: str, path: Path, at_s: float, since_s: float | None = None
) -> bool:
    """Whether a moment, in Unix seconds, does not count for one objective on one path.

    With `since_s`, whether any moment from then on did not.
    """
    first_s = at_s if since_s is None else since_s
    return any(
        e.start_s <= at_s and first_s < e.end_s and e.covers.matches(slo, path) for e in exclusions
    )
