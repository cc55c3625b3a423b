"""A history of packets, or of readings, as one of time slices: each in the column it ends in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from netslo.model import Path
from slo.backtest.history import History
from slo.exclusion import Exclusion
from slo.ledger import Era
from slo.objective import Objective
from slo.ranges import SpendKey
from slo.rates import Counts
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
    _leave_out(packets, history, per_slice, exclusions)
    judged = judge_all(slices, packets.reshape(-1, len(fields))).reshape(packets.shape)
    return _at_ends(history, judged, per_slice)


def rated(
    found: tuple[Sequence[Path], Counts],
    objective: Objective,
    keys: Sequence[SpendKey],
    span: tuple[int, int, int],
    exclusions: Iterable[Exclusion] = (),
) -> History:
    """Return slices of a bandwidth as a history.

    Args:
        found: What `slo.rates.judge_rates` says of all of the span.
        objective: By which that was judged.
        keys: Rows that are wanted; of a path that was not tested there is nothing.
        span: Begin and end, Unix seconds, whole slices, and the step.
        exclusions: Slices that touch one do not count.
    """
    paths, judged = found
    start_s, end_s, step_s = span
    assert objective.slices is not None
    none = np.zeros((len(keys), (end_s - start_s) // step_s), dtype=np.uint32)
    history = History(tuple(keys), start_s, step_s, none, none, none)
    per_slice = objective.slices.length_s // step_s
    rows = {path: row for row, path in enumerate(paths)}
    ours = np.zeros((len(keys), *judged.shape[1:]), dtype=np.int64)
    for row, (_, path) in enumerate(keys):
        if path in rows:
            ours[row] = judged[rows[path]]
    _leave_out(ours, history, per_slice, exclusions)
    return _at_ends(history, ours, per_slice)


def _leave_out(
    slices: Counts, history: History, per_slice: int, exclusions: Iterable[Exclusion]
) -> None:
    for hole in history.holes(exclusions):
        slices[hole.rows, hole.low // per_slice : -(-hole.high // per_slice)] = 0


def _at_ends(history: History, judged: Counts, per_slice: int) -> History:
    """Return a history's rows with each slice, shape (rows, slices, 3), in its last column."""
    good, bad, unmeasured = (np.zeros_like(history.events) for _ in range(judged.shape[2]))
    for field, counts in enumerate((good, bad, unmeasured)):
        counts[:, per_slice - 1 :: per_slice] = judged[:, :, field]
    return replace(history, events=good + bad, bad=bad, unmeasured=unmeasured)


def shifted(eras: Sequence[Era], slices: TimeSlices, step_s: int) -> list[Era]:
    """Return eras by the columns in which slices end: a slice is of the target it began under."""
    later_s = slices.length_s - step_s
    return [(since_s + later_s if since_s else 0, target) for since_s, target in eras]
