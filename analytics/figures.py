"""What one series counted, as JSON: the same keys wherever a person or a script reads it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from analytics.magnitudes import magnitudes
from analytics.sketch import Sketch
from analytics.summary import distribution
from analytics.whole_numbers import counts_by_number
from analytics.windows import (
    DIRECTIONS,
    SET_ASIDE_CAUSES,
    TRANSITION_NAMES,
    WITHHELD_REASONS,
    CountKey,
    PathWindow,
    SketchKey,
)
from netslo import metrics
from netslo.metrics import (
    DIRECTED_LOSS,
    LOSS_DISTANCE,
    LOSS_PERIOD,
    NEGATIVE_DELAYS,
    REMARKED,
    REORDERING_EXTENT,
    TRANSITIONS,
    TTL_CHANGES,
    WITHHELD_DELAYS,
)
from netslo.service import SERVICE_KINDS, Phase

UNTOLD: Final = "untold"  # the far end does not say when packets came and left
FLOOR_FACTOR: Final = 3.0  # a figure below that many noise floors may be the host's own


def window_figures(window: PathWindow) -> dict[str, Any]:
    """Return what one series counted: the ledger, the distributions, and samples by quality."""
    packets = window.packets
    return {
        "due": packets.due,
        "answered": packets.answered,
        "lost": packets.lost,
        "unmeasured": packets.unmeasured,
        "duplicates": packets.duplicates,
        "reordered": packets.reordered,
        "rtt": distribution(window.rtt()),
        "jitter": {
            "rfc3550": window.interarrival_jitter_s,
            "pdv": distribution(window.jitter()),
            "ipdv": ipdv_figures(window.ipdv()),
        },
        "delay": {
            "error": window.delay_error_s,
            **{direction: _delay_figures(window, direction) for direction in DIRECTIONS},
        },
        "clock": {"offset": window.clock_offset_s, "error": window.clock_offset_error_s},
        "loss": _loss_figures(window),
        "reordering_extent": distribution(window.sketches.get(SketchKey(REORDERING_EXTENT))),
        "remarked": {
            key.what: count
            for key, count in sorted(window.counts.items())
            if key.metric == REMARKED and count
        },
        "ttl_changes": {d: window.counts[CountKey(TTL_CHANGES, "", d)] for d in DIRECTIONS},
        "set_aside": {
            cause: window.counts[CountKey(metrics.SET_ASIDE, cause)] for cause in SET_ASIDE_CAUSES
        },
        "quality": {quality.value: count for quality, count in window.samples().items()},
        "rtt_quality": None if window.quality is None else window.quality.value,
        **service_figures(window),
    }


def service_figures(window: PathWindow) -> dict[str, Any]:
    """Return how exchanges with a service ended and what their parts took; else nothing."""
    if window.key.probe not in SERVICE_KINDS:
        return {}
    return {
        "results": {
            key.what: count
            for key, count in sorted(window.counts.items())
            if key.metric == metrics.RESULTS and count
        },
        "phases": {phase.value: distribution(window.phase(phase)) for phase in Phase},
    }


def ipdv_figures(sketch: Sketch | None) -> dict[str, Any]:
    """Return shape Q of |IPDV|, whose sum nobody knows, and `mean`, that of the signed values."""
    shape = distribution(None if sketch is None else magnitudes(sketch))
    mean = sketch.sum / sketch.count if sketch is not None and sketch.count else None
    return {**shape, "mean": mean}


def gilbert(window: PathWindow) -> tuple[float | None, float | None]:
    """Return Gilbert's p and r: how likely a loss follows an answer, and an answer a loss.

    None where nothing was counted that could have been followed by the other.
    """
    kept, broke, stayed, mended = (
        window.counts[CountKey(TRANSITIONS, name)] for name in TRANSITION_NAMES
    )
    p = broke / (kept + broke) if kept + broke else None
    r = mended / (stayed + mended) if stayed + mended else None
    return p, r


def why_no_delay(window: PathWindow, direction: str) -> str | None:
    """Return why there are no one-way delays, or not of all packets; None where there are all."""
    withheld = {
        reason: window.counts[CountKey(WITHHELD_DELAYS, reason, direction)]
        for reason in WITHHELD_REASONS
    }
    reason = max(withheld, key=lambda name: withheld[name])
    if withheld[reason]:
        return reason
    return None if window.delay(direction) is not None else UNTOLD


def _delay_figures(window: PathWindow, direction: str) -> dict[str, Any]:
    return {
        "delay": distribution(window.delay(direction)),
        "why": why_no_delay(window, direction),
        "variation": distribution(window.delay_variation(direction)),
        "negative": window.counts[CountKey(NEGATIVE_DELAYS, "", direction)],
    }


def _loss_figures(window: PathWindow) -> dict[str, Any]:
    periods = window.sketches.get(SketchKey(LOSS_PERIOD))
    ways = {d: window.counts[CountKey(DIRECTED_LOSS, "", d)] for d in DIRECTIONS}
    p, r = gilbert(window)
    return {
        **ways,
        # A loss is told in the window of the next answer, so one window may tell of more.
        "undetermined": max(0, window.packets.lost - sum(ways.values())),
        "periods": distribution(periods),
        "lengths": {} if periods is None else _named(counts_by_number(periods)),
        "distance": distribution(window.sketches.get(SketchKey(LOSS_DISTANCE))),
        "gilbert": {"p": p, "r": r},
    }


def _named(counts: dict[int, int]) -> dict[str, int]:
    return {str(number): count for number, count in counts.items()}


def floor_marks(
    figures: Mapping[str, Any], floor_s: Mapping[str, float | None]
) -> dict[str, bool | None]:
    """Return for each percentile of a round trip whether the host's noise could explain it.

    None where the floor is not known, and of a percentile that too few samples bound from above.

    Args:
        figures: What `window_figures` returns.
        floor_s: The noise floor by quantile, seconds.
    """
    return {
        q: None if each["high"] is None else could_be_floor(each["value"], floor_s.get(q))
        for q, each in figures["rtt"]["quantiles"].items()
    }


def could_be_floor(
    value_s: float | None, floor_s: float | None, factor: float = FLOOR_FACTOR
) -> bool | None:
    """Whether a figure could be explained by the measuring host's own noise, to be said beside it.

    It could when it is less than `factor` times the noise floor's figure of the same percentile.
    None where either of the two is not known.
    """
    if value_s is None or floor_s is None or math.isnan(value_s) or math.isnan(floor_s):
        return None
    return value_s < factor * floor_s
