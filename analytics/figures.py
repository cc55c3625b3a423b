"""What one series counted, as JSON: the same keys wherever a person or a script reads it."""

from __future__ import annotations

import math
from typing import Any, Final

from analytics.summary import distribution
from analytics.windows import PathWindow

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
        "jitter": {"rfc3550": window.interarrival_jitter_s, "pdv": distribution(window.jitter())},
        "quality": {quality.value: count for quality, count in window.samples().items()},
        "rtt_quality": None if window.quality is None else window.quality.value,
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
