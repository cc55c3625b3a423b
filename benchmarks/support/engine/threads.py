"""One thread against two, by the wall clock, while both cores are there."""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from support.engine.array import lognormal
from support.engine.keyed import pairs
from support.engine.limits import scatter, spin, stream_sum

from analytics import _kernels
from analytics.sketch import Sketch

_TWO = 1.85  # cores which two threads that never wait must have got
_SPIN = 200_000_000  # steps of one: some 30 ms, in which the scheduler finds the second core
_PLACES = 1 << 16  # in cache, as the counters are
_COUNTED = 1_000  # times
_ENOUGH = 3  # undisturbed rounds, to say anything
GOAL = 1.6

Run = Callable[[int], object]  # by the number of threads


def measure(*, quick: bool, seed: int) -> dict[str, Any]:
    """Return seconds with one and two threads, of the rounds in which two cores were there."""
    assert _kernels.load(), "the figures are those of the kernels: install numba"
    works = _works()
    _cores()  # compiles
    for run in works.values():
        run(1)
        run(2)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    tried = 0
    for _ in range(5 if quick else 9):
        for name, run in works.items():
            tried += 1
            before = _cores()
            taken = _seconds(run, 1), _seconds(run, 2)
            if min(before, _cores()) >= _TWO:
                times[name].append(taken)
    return {
        "tried": tried,
        "cores": len(os.sched_getaffinity(0)),
        "seed": seed,
        "rows": {
            name: {
                "rounds": len(found),
                "ratio": statistics.median(one / two for one, two in found)
                if len(found) >= _ENOUGH
                else None,
            }
            for name, found in times.items()
        },
    }


def _works() -> dict[str, Run]:
    values = lognormal(40_000_000)  # long enough for the start of a thread not to count
    works: dict[str, Run] = {
        "limit: sum of the array": lambda threads: _split_sum(values, threads),
        "limit: counting, all in cache": _count_in_cache,
        "array into a sketch": lambda threads: Sketch().add(values, threads=threads),
    }
    try:
        Sketch().add(values[:10], threads=2)
    except TypeError:  # it has no threads
        del works["array into a sketch"]
    try:
        from analytics.table import SketchTable
    except ModuleNotFoundError:
        return works
    data = pairs(10_000_000, 1_000_000)
    works["pairs of 1,000,000 keys"] = lambda threads: SketchTable(data.count, threads=threads).add(
        data.keys, data.values
    )
    return works


def _split_sum(values: np.ndarray, threads: int) -> None:
    parts = np.array_split(values, threads)
    _together([lambda part=part: stream_sum(part) for part in parts])


def _count_in_cache(threads: int) -> None:
    """Count with nothing to wait for but the core: less than twice by two is a shared core."""

    def count() -> None:
        places = np.random.default_rng(7).integers(0, 1024, _PLACES).astype(np.uint32)
        counts = np.zeros(1024, np.uint32)
        for _ in range(_COUNTED // threads):
            scatter(places, counts)

    _together([count] * threads)


def _together(works: list[Callable[[], object]]) -> None:
    if len(works) == 1:
        works[0]()
        return
    started = [threading.Thread(target=work) for work in works]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()


def _seconds(run: Run, threads: int) -> float:
    began = time.perf_counter()
    run(threads)
    return time.perf_counter() - began


def _cores() -> float:
    """Return how many cores two threads get which never wait."""
    cpu, began = time.process_time(), time.perf_counter()
    _together([lambda: spin(_SPIN)] * 2)
    return (time.process_time() - cpu) / (time.perf_counter() - began)
