"""Good and bad packets of one window, at the exact threshold of an objective."""

from __future__ import annotations

from collections.abc import Container
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics.windows import SloCounts
from netslo.model import NS_PER_S, Direction, Measure, SloThreshold
from probes.outcome import NO_SPAN, QUALITIES, Outcomes, State

_SPANS: Final = {
    Direction.ROUND_TRIP: "rtt_ns",
    Direction.FORWARD: "forward_ns",
    Direction.REVERSE: "backward_ns",
}


def count_events(
    threshold: SloThreshold,
    outcomes: Outcomes,
    before: Outcomes | None = None,
    *,
    withheld: Container[str] = (),
) -> SloCounts:
    """Judge every packet of a window.

    Args:
        threshold: What is good.
        outcomes: All packets of the window, settled, in the order of sending.
        before: The packet sent just before the first of these, shape (1,); None when it is
            not known. Only IPDV needs it.
        withheld: The directions whose one-way delay the clocks do not allow to be taken for a
            fact (`one_way.why_withheld`). Differences of one-way delays need no such thing, for
            the offset of the clocks cancels out.
    """
    state = outcomes["state"]
    answered = state == State.ANSWERED
    if answered.any() and not _tells(threshold, outcomes[answered], withheld):
        # Losses too: with no good packet beside them, they would burn the budget at full rate.
        return SloCounts(unmeasured=len(outcomes))
    counts = SloCounts(
        bad=int((state == State.LOST).sum()), unmeasured=int((state == State.UNMEASURED).sum())
    )
    if threshold.limit_s is None:
        counts.good = int(answered.sum())
        return counts
    values_s, known = _measure(threshold, outcomes, before)
    good = int((values_s[known] <= threshold.limit_s).sum())
    measured = int(known.sum())
    counts.good += good
    counts.bad += measured - good
    counts.unmeasured += int(answered.sum()) - measured
    return counts


def _tells(threshold: SloThreshold, answered: Outcomes, withheld: Container[str]) -> bool:
    """Whether a window can be judged at all; a round trip always can."""
    if threshold.limit_s is None or threshold.direction is Direction.ROUND_TRIP:
        return True
    if threshold.measure is Measure.DELAY and threshold.direction.value in withheld:
        return False
    return bool((answered[_SPANS[threshold.direction]] != NO_SPAN).any())


def _measure(
    threshold: SloThreshold, outcomes: Outcomes, before: Outcomes | None
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return each packet's measure in seconds, and whether it has one."""
    spans_ns = outcomes[_SPANS[threshold.direction]]
    known = (outcomes["state"] == State.ANSWERED) & (spans_ns != NO_SPAN)
    match threshold.measure:
        case Measure.DELAY:
            values_ns = spans_ns
        case Measure.PDV:
            values_ns = _less_the_least(spans_ns, known, outcomes["quality"])
        case Measure.IPDV:
            return _change(threshold, outcomes, before)
    return values_ns / NS_PER_S, known


def _less_the_least(
    spans_ns: NDArray[np.int64], known: NDArray[np.bool_], quality: NDArray[np.uint8]
) -> NDArray[np.int64]:
    """Take the least delay of the window from each, by quality, for classes never mix."""
    values_ns = spans_ns.copy()
    for place in range(len(QUALITIES)):
        own = known & (quality == place)
        if own.any():
            values_ns[own] -= spans_ns[own].min()
    return values_ns


def _change(
    threshold: SloThreshold, outcomes: Outcomes, before: Outcomes | None
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Compare each packet with the one sent just before it; both must have been answered."""
    rows = outcomes if before is None else np.concatenate([before, outcomes])
    spans_ns = rows[_SPANS[threshold.direction]]
    known = (rows["state"] == State.ANSWERED) & (spans_ns != NO_SPAN)
    pair = np.zeros(len(rows), np.bool_)
    pair[1:] = known[1:] & known[:-1] & (rows["quality"][1:] == rows["quality"][:-1])
    change_ns = np.zeros(len(rows), np.int64)
    change_ns[1:][pair[1:]] = np.abs(np.diff(spans_ns)[pair[1:]])
    first = len(rows) - len(outcomes)
    return change_ns[first:] / NS_PER_S, pair[first:]
