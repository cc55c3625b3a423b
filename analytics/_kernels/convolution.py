"""Sums of independent values, bucket by bucket."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analytics._kernels.compilation import compiled, inlined

_EXACT = 2.0**53  # whole numbers below have a double each


@compiled
def add_whole(
    a: NDArray[np.float64],  # weights of one summand, whole numbers
    a_begin: int,  # the window's bucket where they begin
    b: NDArray[np.float64],
    b_begin: int,
    size: int,  # buckets of the window, which has room for both
    shifts: NDArray[np.int64],  # (groups,) from the highest, one by one, down to 0
    firsts: NDArray[np.int64],  # (groups,) distances from `firsts` on have that shift; 0, 1, ...
    out: NDArray[np.float64],  # (size + highest shift + 1,) zeros; written
) -> tuple[int, int]:
    """Add up weights whose sums are whole numbers below 2**53: then no difference rounds.

    Returns the first bucket of `out` with a weight and the one behind the last; (0, -1) and
    nothing written where a sum may be no such number.

    A group's sum over distances from d to d' is a difference of two sums over all distances from
    some d on, and where one group adds the latter, the one before takes it away, a bucket
    further: so `steps` gathers them once, and differences of neighbours are the sums.
    """
    groups = shifts.shape[0]
    pad = 0  # zeros in front of the sums, where a later group of three begins later
    for group in range(1, groups - 2, 3):
        if firsts[group] < size:
            pad = max(pad, firsts[group + 2] - firsts[group] - 2)
    left, right = np.zeros(size + 2), np.zeros(size + 2)
    for i in range(a.shape[0]):  # assigning to slices takes three seconds to compile
        left[a_begin + i] = a[i]
    for i in range(b.shape[0]):
        right[b_begin + i] = b[i]
    left_upto, right_upto = np.zeros(pad + size + 2), np.zeros(pad + size + 2)
    left_sum, right_sum, whole = 0.0, 0.0, True
    for i in range(size):
        left_sum += left[i]
        right_sum += right[i]
        left_upto[pad + i], right_upto[pad + i] = left_sum, right_sum
        whole &= left[i] == np.floor(left[i]) and right[i] == np.floor(right[i])
    if not whole or 2 * left_sum * right_sum >= _EXACT:
        return 0, -1
    steps = np.zeros(out.shape[0] + 2)
    group = 1
    while group < groups and firsts[group] < size:
        first, length = firsts[group], size - firsts[group]
        place = steps[first + shifts[group] : size + shifts[group]]
        if group + 2 < groups:
            # Three at a time, the next one's buckets one further on: one store for all of them.
            a0, b0 = left[first : first + length], right[first : first + length]
            a1, b1 = left[first + 1 : first + 1 + length], right[first + 1 : first + 1 + length]
            a2, b2 = left[first + 2 : first + 2 + length], right[first + 2 : first + 2 + length]
            second = pad + first + 1 - firsts[group + 1]
            third = pad + first + 2 - firsts[group + 2]
            a0_upto, b0_upto = left_upto[pad : pad + length], right_upto[pad : pad + length]
            a1_upto = left_upto[second : second + length]
            b1_upto = right_upto[second : second + length]
            a2_upto = left_upto[third : third + length]
            b2_upto = right_upto[third : third + length]
            for i in range(length):
                place[i] += (
                    (a0[i] * b0_upto[i] + b0[i] * a0_upto[i])
                    + (a1[i] * b1_upto[i] + b1[i] * a1_upto[i])
                    + (a2[i] * b2_upto[i] + b2[i] * a2_upto[i])
                )
            group += 3
        else:
            _add(place, left[first:], right_upto[pad:], right[first:], left_upto[pad:])
            group += 1
    top = out[shifts[0] : shifts[0] + size]
    for i in range(size):
        top[i] = left[i] * right[i]  # distance 0, alone in its group
    _add(top[1:], left[1:], right_upto[pad:], right[1:], left_upto[pad:])
    for bucket in range(out.shape[0] - 1, 0, -1):
        out[bucket] += steps[bucket] - steps[bucket - 1]
    out[0] += steps[0]
    begin, end = 0, out.shape[0]
    while begin < end and out[begin] == 0:
        begin += 1
    while end > begin and out[end - 1] == 0:
        end -= 1
    return begin, end


@inlined
def _add(
    place: NDArray[np.float64],
    a: NDArray[np.float64],
    b_upto: NDArray[np.float64],
    b: NDArray[np.float64],
    a_upto: NDArray[np.float64],
) -> None:
    for i in range(place.shape[0]):
        place[i] += a[i] * b_upto[i] + b[i] * a_upto[i]


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
