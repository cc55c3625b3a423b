"""Where two windows of each row burn too fast, whatever their lengths, from running sums."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analytics._kernels.compilation import compiled


@compiled
def add_up(
    counts: NDArray[np.uint32],  # (rows, steps)
    sums: NDArray[np.int64],  # (rows, steps + 1): of the steps before, written here
) -> None:
    for row in range(counts.shape[0]):
        total = np.int64(0)
        sums[row, 0] = 0
        for step in range(counts.shape[1]):
            total += np.int64(counts[row, step])
            sums[row, step + 1] = total


@compiled
def add_up_weighted(
    sums: NDArray[np.int64],  # (rows, steps + 1), as above
    weights: NDArray[np.int64],  # (steps,)
    weighted: NDArray[np.int64],  # (rows, steps + 1): the same with each step by its weight
) -> None:
    for row in range(sums.shape[0]):
        total = np.int64(0)
        weighted[row, 0] = 0
        for step in range(weights.shape[0]):
            total += (sums[row, step + 1] - sums[row, step]) * weights[step]
            weighted[row, step + 1] = total


@compiled
def mark_burning(
    bad: NDArray[np.int64],  # (rows, steps + 1), sums of the steps before
    budget: NDArray[np.int64],  # (rows, steps + 1)
    per_bad: int,  # a window burns where its bad * per_bad exceeds
    per_budget: int,  # its budget * per_budget
    long: int,  # steps
    short: int,
    bad_min: int,  # that the long window must have, at least 1
    burning: NDArray[np.bool_],  # (rows, steps), zeroed; true where both windows burn
    burns: NDArray[np.bool_],  # (rows,), zeroed; true where there is such a place
) -> None:
    for row in range(bad.shape[0]):
        for end in range(1, bad.shape[1]):
            begin = max(0, end - long)
            more = bad[row, end] - bad[row, begin]
            # Nearly every window is sound: the rest is worth no time of theirs.
            if more < bad_min:
                continue
            if more * per_bad <= (budget[row, end] - budget[row, begin]) * per_budget:
                continue
            begin = max(0, end - short)
            more = bad[row, end] - bad[row, begin]
            if more * per_bad > (budget[row, end] - budget[row, begin]) * per_budget:
                burning[row, end - 1] = True
                burns[row] = True
