"""Futures drawn from the past, and when each of them has used up its budget.

A future is made of runs of steps of the past: half the time the step that followed the last one
comes next, else another run begins (Politis and Romano, "The stationary bootstrap", 1994). Where
a run began goes back into the urn twice (Polya; Rubin, "The Bayesian bootstrap", 1981), for what
is ordinary is itself not known better than so few runs tell.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analytics._kernels.compilation import called, compiled


@called
def _random(state: NDArray[np.uint64]) -> np.uint64:
    """Return the next of SplitMix64 (Steele et al., OOPSLA 2014)."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@called
def _draw(
    state: NDArray[np.uint64],
    urn: NDArray[np.int64],  # where the runs of this future began, as many as `runs[0]`
    runs: NDArray[np.int64],
    known: int,  # steps of the past
    last: int,  # the step before, -1: none
) -> int:
    bits = _random(state)
    if last >= 0 and bits & np.uint64(1):
        return (last + 1) % known
    # A run has two steps in the mean: there are half as many in the past as it has steps.
    place = np.int64((bits >> np.uint64(1)) % np.uint64(known + 2 * runs[0]))
    begin = place if place < known else urn[(place - known) // 2]
    urn[runs[0]] = begin
    runs[0] += 1
    return begin


@compiled
def use_up_rolling(
    bad: NDArray[np.float64],  # (rows, steps) of the period that ends now, the oldest first
    budget: NDArray[np.float64],  # (rows, steps)
    seeds: NDArray[np.uint64],  # (rows,)
    found: NDArray[np.float64],  # (rows, futures): after how many steps, inf for never; written
) -> None:
    steps = bad.shape[1]
    urn, runs = np.empty(steps, dtype=np.int64), np.zeros(1, dtype=np.int64)
    pool = np.empty(steps, dtype=np.int64)
    state = np.empty(1, dtype=np.uint64)
    for row in range(bad.shape[0]):
        known, left_now = 0, 0.0
        for step in range(steps):
            left_now += budget[row, step] - bad[row, step]
            if budget[row, step] > 0:
                pool[known] = step
                known += 1
        state[0] = seeds[row]
        for future in range(found.shape[1]):
            found[row, future] = np.inf
            if left_now <= 0:
                found[row, future] = 0.0
                continue
            left, last, runs[0] = left_now, -1, 0
            for step in range(steps):
                last = _draw(state, urn, runs, known, last)
                new = pool[last]
                more = budget[row, new] - bad[row, new] - budget[row, step] + bad[row, step]
                if left + more <= 0:
                    found[row, future] = step + left / -more
                    break
                left += more


@compiled
def use_up_by_end(
    bad: NDArray[np.float64],  # (rows, steps) of the past, from which futures are drawn
    budget: NDArray[np.float64],  # (rows, steps)
    spent: NDArray[np.float64],  # (rows,) bad events since the period began, as far as known
    allowed: NDArray[np.float64],  # (rows,) the same of budget events
    before: float,  # steps since it began that are not known
    ahead: float,  # steps until it ends
    seeds: NDArray[np.uint64],  # (rows,)
    found: NDArray[np.float64],  # (rows, futures), as above
) -> None:
    steps = bad.shape[1]
    lost, rest = int(np.ceil(before)), int(np.ceil(ahead))
    urn, runs = np.empty(lost + rest, dtype=np.int64), np.zeros(1, dtype=np.int64)
    pool = np.empty(steps, dtype=np.int64)
    places = np.empty(lost + rest, dtype=np.int64)
    state = np.empty(1, dtype=np.uint64)
    for row in range(bad.shape[0]):
        known = 0
        for step in range(steps):
            if budget[row, step] > 0:
                pool[known] = step
                known += 1
        state[0] = seeds[row]
        for future in range(found.shape[1]):
            used, whole, last, runs[0] = spent[row], allowed[row], -1, 0
            for step in range(lost + rest):
                last = _draw(state, urn, runs, known, last)
                places[step] = pool[last]
                share = min(1.0, before - step) if step < lost else min(1.0, ahead - step + lost)
                whole += share * budget[row, places[step]]
                if step < lost:
                    used += share * bad[row, places[step]]
            found[row, future] = 0.0 if used >= whole else np.inf
            if used >= whole:
                continue
            for step in range(rest):
                more = min(1.0, ahead - step) * bad[row, places[lost + step]]
                if used + more >= whole:
                    part = (whole - used) / more
                    found[row, future] = step + part * min(1.0, ahead - step)
                    break
                used += more
