"""The metrics of a batch: what kind of OTLP points each has, and what tells its points apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from analytics.streams import Gauge
from analytics.windows import PHASES, SET_ASIDE_CAUSES, TRANSITION_NAMES, WITHHELD_REASONS
from netslo import metrics
from netslo.service import ServiceResult

HISTOGRAM: Final = "exponential_histogram"
SUM: Final = "sum"
GAUGE: Final = "gauge"
FIELDS: Final = {GAUGE: 5, SUM: 7, HISTOGRAM: 10}  # of the message Metric

SECONDS: Final = "s"
PACKETS: Final = "{packet}"


@dataclass(frozen=True, slots=True)
class Instrument:
    """One metric, without what names its series."""

    kind: str
    unit: str

    @property
    def has_quality(self) -> bool:
        """Whether its values rest on timestamps."""
        return self.kind == HISTOGRAM and self.unit == SECONDS


INSTRUMENTS: Final = {
    metrics.RTT: Instrument(HISTOGRAM, SECONDS),
    metrics.DELAY: Instrument(HISTOGRAM, SECONDS),
    metrics.DELAY_VARIATION: Instrument(HISTOGRAM, SECONDS),
    metrics.JITTER: Instrument(HISTOGRAM, SECONDS),
    metrics.IPDV: Instrument(HISTOGRAM, SECONDS),
    metrics.LOSS_PERIOD: Instrument(HISTOGRAM, PACKETS),
    metrics.LOSS_DISTANCE: Instrument(HISTOGRAM, PACKETS),
    metrics.REORDERING_EXTENT: Instrument(HISTOGRAM, PACKETS),
    **{name: Instrument(HISTOGRAM, SECONDS) for name in PHASES.values()},
    metrics.RESULTS: Instrument(SUM, "{request}"),
    metrics.PACKETS: Instrument(SUM, PACKETS),
    metrics.DUPLICATES: Instrument(SUM, PACKETS),
    metrics.REORDERED: Instrument(SUM, PACKETS),
    metrics.DIRECTED_LOSS: Instrument(SUM, PACKETS),
    metrics.TRANSITIONS: Instrument(SUM, PACKETS),
    metrics.NEGATIVE_DELAYS: Instrument(SUM, PACKETS),
    metrics.WITHHELD_DELAYS: Instrument(SUM, PACKETS),
    metrics.REMARKED: Instrument(SUM, PACKETS),
    metrics.TTL_CHANGES: Instrument(SUM, "{change}"),
    metrics.SET_ASIDE: Instrument(SUM, PACKETS),
    metrics.SLO_EVENTS: Instrument(SUM, "{event}"),
    metrics.INTERARRIVAL_JITTER: Instrument(GAUGE, SECONDS),
    metrics.DELAY_ERROR: Instrument(GAUGE, SECONDS),
    metrics.CLOCK_OFFSET: Instrument(GAUGE, SECONDS),
    metrics.CLOCK_OFFSET_ERROR: Instrument(GAUGE, SECONDS),
}

# Metrics whose points carry a direction.
DIRECTED: Final = frozenset(
    {
        metrics.DELAY,
        metrics.DELAY_VARIATION,
        metrics.DIRECTED_LOSS,
        metrics.NEGATIVE_DELAYS,
        metrics.WITHHELD_DELAYS,
        metrics.TTL_CHANGES,
    }
)

# Of the counts beside the ledger: the attribute that tells them apart, and all it can say.
COUNTS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    metrics.DIRECTED_LOSS: ("", ()),
    metrics.TRANSITIONS: (metrics.ATTR_TRANSITION, TRANSITION_NAMES),
    metrics.NEGATIVE_DELAYS: ("", ()),
    metrics.WITHHELD_DELAYS: (metrics.ATTR_REASON, WITHHELD_REASONS),
    metrics.REMARKED: (metrics.ATTR_DSCP, tuple(str(dscp) for dscp in range(64))),
    metrics.TTL_CHANGES: ("", ()),
    metrics.SET_ASIDE: (metrics.ATTR_CAUSE, SET_ASIDE_CAUSES),
    metrics.RESULTS: (metrics.ATTR_RESULT, tuple(result.value for result in ServiceResult)),
}

GAUGES: Final = {
    metrics.INTERARRIVAL_JITTER: Gauge.INTERARRIVAL_JITTER,
    metrics.DELAY_ERROR: Gauge.DELAY_ERROR,
    metrics.CLOCK_OFFSET: Gauge.CLOCK_OFFSET,
    metrics.CLOCK_OFFSET_ERROR: Gauge.CLOCK_OFFSET_ERROR,
}
SIGNED: Final = frozenset({metrics.CLOCK_OFFSET})  # gauges that may be negative
