"""A history of packets as one of time slices: each in the column in which it ends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from slo.backtest.history import History
from slo.exclusion import Exclusion
from slo.ledger import Era
from slo.slice_reader import judge_all
from slo.slices import TimeSlices


def sliced(history: History, slices: TimeSlices, exclusions: Iterable[Exclusion] = ()) -> History:
    """Judge a history's packets by slice.

    Args:
        history: Of packets; it begins and ends with a slice, in steps that fit into one.
        slices: How.
        exclusions: Slices that touch one do not count.

    Raises:
        ValueError: slices and steps do not fit.
    """
    per_slice, rest = divmod(slices.length_s, history.step_s)
    if rest or history.start_s % slices.length_s or history.end_s % slices.length_s:
        raise ValueError(f"steps of {history.step_s} s do not make slices of {slices.length_s} s")
    shape = len(history.keys), history.steps // per_slice, per_slice
    fields = (history.events - history.bad, history.bad, history.unmeasured)
    packets = np.stack(
        [counts.reshape(shape).sum(axis=2, dtype=np.int64) for counts in fields], axis=2
    )
    for hole in history.holes(exclusions):
        packets[hole.rows, hole.low // per_slice : -(-hole.high // per_slice)] = 0
    judged = judge_all(slices, packets.reshape(-1, len(fields))).reshape(packets.shape)
    good, bad, unmeasured = (np.zeros_like(history.events) for _ in fields)
    for counts, field in zip((good, bad, unmeasured), range(len(fields)), strict=True):
        counts[:, per_slice - 1 :: per_slice] = judged[:, :, field]
    return replace(history, events=good + bad, bad=bad, unmeasured=unmeasured)


def shifted(eras: Sequence[Era], slices: TimeSlices, step_s: int) -> list[Era]:
    """Return eras by the columns in which slices end: a slice is of the target it began under."""
    later_s = slices.length_s - step_s
    return [(since_s + later_s if since_s else 0, target) for since_s, target in eras]
