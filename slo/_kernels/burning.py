"""Where two windows of each row burn too fast: one pass, whatever their lengths."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analytics._kernels.compilation import compiled


@compiled
def mark_burning(
    events: NDArray[np.int64],  # (rows, steps)
    bad: NDArray[np.int64],  # (rows, steps)
    per_event: NDArray[np.int64],  # (steps,) what an event takes off the sum
    per_bad: int,  # what a bad one adds to it
    long: int,  # steps; no window of fewer bad events than the least is wanted
    short: int,
    bad_min: int,
    burning: NDArray[np.bool_],  # (rows, steps), zeroed; true where both sums are above zero
) -> None:
    for row in range(events.shape[0]):
        over_long = over_short = bad_over_long = 0
        for step in range(events.shape[1]):
            excess = bad[row, step] * per_bad - events[row, step] * per_event[step]
            over_long += excess
            over_short += excess
            bad_over_long += bad[row, step]
            if step >= long:
                at = step - long
                over_long -= bad[row, at] * per_bad - events[row, at] * per_event[at]
                bad_over_long -= bad[row, at]
            if step >= short:
                at = step - short
                over_short -= bad[row, at] * per_bad - events[row, at] * per_event[at]
            if over_long > 0 and over_short > 0 and bad_over_long >= bad_min:
                burning[row, step] = True
