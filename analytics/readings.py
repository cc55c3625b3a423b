"""What capacity tests find of a path: figures of a moment, which do not add up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from netslo import metrics
from netslo.model import Direction, Path
from netslo.route import RouteObservation

METHODS: Final = ("train", "tcp", "iperf3")
STATES: Final = ("idle", "loaded")
QUANTILES: Final = ("0.5", "0.99")

# What tells the readings of a metric apart on one path: closed sets.
CHOICES: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    metrics.BANDWIDTH: {
        metrics.ATTR_DIRECTION: (Direction.FORWARD.value, Direction.REVERSE.value),
        metrics.ATTR_METHOD: METHODS,
    }
}
CHOICES[metrics.LOADED_RTT] = {
    **CHOICES[metrics.BANDWIDTH],
    metrics.ATTR_STATE: STATES,
    metrics.ATTR_QUANTILE: QUANTILES,
}


@dataclass(frozen=True, slots=True)
class Reading:
    """One figure of a capacity test: bandwidth in bit/s, or a round trip beside it in seconds."""

    path: Path
    seen_ns: int  # Unix time of the test
    metric: str  # of CHOICES
    direction: str
    method: str
    value: float
    state: str = ""  # of a round trip: whether the test was loading the path
    quantile: str = ""  # likewise


Told = RouteObservation | Reading  # of a path now and then, not in every window
