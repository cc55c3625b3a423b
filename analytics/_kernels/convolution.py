"""Sums of independent values, bucket by bucket."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analytics._kernels.compilation import compiled


@compiled
def add_half(
    small: NDArray[np.float64],  # (n,) weights of the smaller summand
    large: NDArray[np.float64],  # (n,) of the larger one, on the same window
    shifts: NDArray[np.int64],  # (groups,) see analytics.convolution
    firsts: NDArray[np.int64],  # (groups,) distances from `firsts` on have that shift
    begin: int,  # the least distance that counts
    out: NDArray[np.float64],  # (n + largest shift + 1,) changed in place
) -> None:
    n = small.shape[0]
    before = np.zeros(n + 1)  # sums of `small` up to each bucket
    for i in range(n):
        before[i + 1] = before[i] + small[i]
    groups = shifts.shape[0]
    for group in range(groups):
        least = max(firsts[group], begin)
        end = min(firsts[group + 1] if group + 1 < groups else n, n)
        if least >= end:
            continue
        # Bucket j of `large` meets the buckets j - end + 1 to j - least of `small`.
        place = out[least + shifts[group] : n + shifts[group]]
        weights, upto = large[least:n], before[1 : n - least + 1]
        full = end - 1 - least  # from there on, all of them exist
        for i in range(min(full, weights.shape[0])):
            place[i] += weights[i] * upto[i]
        if full < weights.shape[0]:
            rest, above, below = weights[full:], upto[full:], before[: n - least - full]
            target = place[full:]
            for i in range(rest.shape[0]):
                target[i] += rest[i] * (above[i] - below[i])
