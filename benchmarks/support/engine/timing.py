"""Timing engines side by side: every round runs each of them once, in an order that changes."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

OURS = "netslo"
_FAIR_SHARE = 0.95  # of a core; a round below it was disturbed

Data = TypeVar("Data")


@dataclass(frozen=True, slots=True)
class Case:
    """One engine at one piece of work."""

    engine: str
    items: int  # that one run handles; times are per item
    run: Callable[[], object]
    limit: bool = False  # of the machine rather than an engine
    before: Callable[[], object] | None = None  # each run, and not timed


Make = Callable[[Data], Case]


def engine(name: str) -> Callable[[Make[Data]], Make[Data]]:
    """Say which engine a function makes a case of, so that a table can name a missing one."""

    def mark(make: Make[Data]) -> Make[Data]:
        make.engine = name  # type: ignore[attr-defined]
        return make

    return mark


@dataclass(frozen=True, slots=True)
class Goal:
    """How netslo shall compare: `at_least` so much faster, or `at_most` so much slower."""

    engine: str
    at_least: float | None = None
    at_most: float | None = None

    def __str__(self) -> str:
        return f">= {self.at_least:g}" if self.at_least is not None else f"<= {self.at_most:g}"

    def met(self, ours: float, theirs: float) -> bool:
        """Judge times per item."""
        if self.at_least is not None:
            return theirs >= self.at_least * ours
        assert self.at_most is not None
        return ours <= self.at_most * theirs


@dataclass(frozen=True, slots=True)
class Work(Generic[Data]):
    """What all engines are given to do."""

    title: str  # a format that may ask `data`
    items: str  # what they are called
    data: Callable[[bool], Data]  # whether it shall be quick
    cases: tuple[Make[Data], ...]
    goals: tuple[Goal, ...] = ()
    rounds: int = 5
    environment: dict[str, str] = field(default_factory=dict)


def measure(work: Work[Any], *, quick: bool, seed: int) -> dict[str, Any]:
    """Time every engine that is installed; in nanoseconds per item, the median of the rounds."""
    data = work.data(quick)
    cases, left_out = [], {}
    for make in work.cases:
        try:
            case = make(data)
            _seconds(case)  # compiles, faults pages in, fills caches
        except ModuleNotFoundError as missing:
            left_out[getattr(make, "engine", OURS)] = f"{missing.name} is not installed"
        else:
            cases.append(case)
    times: dict[str, list[float]] = {case.engine: [] for case in cases}
    disturbed, order = 0, random.Random(seed)
    for _ in range(2 if quick else work.rounds):
        order.shuffle(cases)
        for case in cases:
            took, of_core = _seconds(case)
            disturbed += of_core < _FAIR_SHARE
            times[case.engine].append(took / case.items * 1e9)
    return {
        "title": work.title.format(data=data),
        "rows": {
            case.engine: {
                "items": case.items,
                "ns": statistics.median(times[case.engine]),
                "limit": case.limit,
            }
            for case in cases
        },
        "left_out": left_out,
        "timings": sum(map(len, times.values())),
        "disturbed": disturbed,
    }


def _seconds(case: Case) -> tuple[float, float]:
    """Return how long one run took by the wall clock, and which share of a core it had."""
    if case.before is not None:
        case.before()
    cpu, began = time.process_time(), time.perf_counter()
    case.run()
    took = time.perf_counter() - began
    return took, (time.process_time() - cpu) / took
