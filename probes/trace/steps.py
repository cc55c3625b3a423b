"""When a path deserves a trace out of turn: its windows say that something has changed."""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from statistics import median
from typing import Final

from analytics.windows import DIRECTIONS, CountKey, PathWindow
from netslo import metrics

WINDOWS: Final = 6  # that say what is usual
_KNOWN_MIN: Final = 3
_ANSWERS_MIN: Final = 5  # of a window whose median is believed
_STEP_S_MIN: Final = 0.0005
_STEP_RATIO_MIN: Final = 0.1
_SPREADS: Final = 4.0  # a step is so many times larger than medians differed before


class Cause(StrEnum):
    """What has changed."""

    TTL = "TTL of received packets"
    RTT = "step of the round trip"
    SILENCE = "no answer any more"
    RETURN = "answers again"


class StepDetector:
    """Looks at the windows of one path, one after the other."""

    def __init__(self) -> None:
        self._medians_s: deque[float] = deque(maxlen=WINDOWS)
        self._silent = False

    def look(self, window: PathWindow) -> Cause | None:
        """Return what has changed with a window, if anything has."""
        packets = window.packets
        if not packets.answered:
            fallen = packets.lost > 0 and not self._silent
            self._silent = self._silent or packets.lost > 0
            return Cause.SILENCE if fallen else None
        returned, self._silent = self._silent, False
        stepped = self._steps(window)
        if returned:
            return Cause.RETURN
        if any(window.counts[CountKey(metrics.TTL_CHANGES, "", way)] for way in DIRECTIONS):
            return Cause.TTL
        return Cause.RTT if stepped else None

    def _steps(self, window: PathWindow) -> bool:
        rtt = window.rtt()
        if rtt is None or rtt.count < _ANSWERS_MIN:
            return False
        now_s = float(rtt.quantiles([0.5])[0])
        known = list(self._medians_s)
        self._medians_s.append(now_s)
        if len(known) < _KNOWN_MIN:
            return False
        usual_s = median(known)
        spread_s = max(abs(each - usual_s) for each in known)
        if abs(now_s - usual_s) <= max(_STEP_S_MIN, _STEP_RATIO_MIN * usual_s, _SPREADS * spread_s):
            return False
        self._medians_s.clear()  # what is usual begins anew
        self._medians_s.append(now_s)
        return True
