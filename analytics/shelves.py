"""Runs of counters of one width, one behind the other in one long array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics import _kernels
from analytics.tables import Side

Places = NDArray[np.int64]


@dataclass(slots=True)
class Shelf:
    """The long array. What its runs leave behind when they move is dropped when it is full."""

    counts: NDArray[Any]  # unsigned integers
    used: int = 0  # behind it all is zero

    def has_room(self, more: int) -> bool:
        """Whether so many further counters fit."""
        return self.used + more <= len(self.counts)

    def take(self, more: int) -> int:
        """Have so many further counters, all zero; return where."""
        self.used += more
        return self.used - more

    def add(self, side: Side, target: Places, sign: int) -> None:
        """Add rows to the counters from `target` on, or take them away; -1 leaves a row out.

        No counter may become less than nothing, or more than its width holds.
        """
        if _kernels.pays(len(side.counts)):
            from analytics._kernels import sliding as kernel

            kernel.add_signed(side.offsets, side.counts, target, sign, self.counts)
            return
        for row in np.flatnonzero(target >= 0).tolist():
            counts = side.counts[side.offsets[row] : side.offsets[row + 1]]
            place = self.counts[target[row] : target[row] + len(counts)]
            (np.add if sign > 0 else np.subtract)(place, counts.astype(place.dtype), out=place)

    def copy(self, begins: Places, lengths: Places, places: Places, out: NDArray[Any]) -> None:
        """Write runs to places of an array of the same width or a larger one."""
        if not _kernels.pays(int(lengths.sum())):
            for begin, length, place in zip(begins, lengths, places, strict=True):
                out[place : place + length] = self.counts[begin : begin + length]
            return
        from analytics._kernels import sliding as kernel

        source = self.counts
        if source.dtype == out.dtype:  # one kernel for all widths
            words = source.itemsize // 2
            source, out = source.view(np.uint16), out.view(np.uint16)
            begins, lengths, places = (words * each for each in (begins, lengths, places))
        kernel.copy_runs(source, begins, lengths, places, out)
