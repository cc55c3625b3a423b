"""What one series counted, as JSON: the same keys wherever a person or a script reads it."""

from __future__ import annotations

from typing import Any

from analytics.summary import distribution
from analytics.windows import PathWindow, SketchKey
from netslo.metrics import RTT
from netslo.model import Quality


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
        "quality": {quality.value: _samples(window, quality) for quality in Quality},
    }


def _samples(window: PathWindow, quality: Quality) -> int:
    sketch = window.sketches.get(SketchKey(RTT, quality))
    return 0 if sketch is None else sketch.count
