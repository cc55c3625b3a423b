"""What a data point is about, from its metric's name and its attributes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from analytics.otlp.fields import Refused, read_member, read_series, read_text
from analytics.streams import EVENT_FIELDS, About, Events, Gauge, Packets
from analytics.windows import SeriesKey, SketchKey
from netslo import metrics
from netslo.model import Outcome, Quality, is_name

_DIRECTIONS: Final = ("forward", "reverse")


def read_subject(name: str, attributes: Mapping[str, Any]) -> tuple[SeriesKey, About]:
    """Return the series and what of it a point of the metric `name` counts.

    Raises:
        Refused: an attribute is missing or wrong, or the metric is not known.
    """
    about = _ABOUT.get(name)
    if about is None:
        raise Refused("unknown metric")
    return read_series(attributes), about(name, attributes)


def sketch_subject(name: str, attributes: Mapping[str, Any]) -> SketchKey:
    quality = read_member(Quality, attributes, metrics.ATTR_QUALITY, default=Quality.C)
    direction = read_text(attributes, metrics.ATTR_DIRECTION, default="")
    if (name == metrics.DELAY) != (direction in _DIRECTIONS):
        raise Refused(f"direction {'missing' if name == metrics.DELAY else 'not expected'}")
    return SketchKey(name, quality, direction)


def packets_subject(name: str, attributes: Mapping[str, Any]) -> Packets:
    if name == metrics.DUPLICATES:
        return Packets("duplicates")
    if name == metrics.REORDERED:
        return Packets("reordered")
    return Packets(read_member(Outcome, attributes, metrics.ATTR_OUTCOME).value)


def events_subject(_name: str, attributes: Mapping[str, Any]) -> Events:
    slo = read_text(attributes, metrics.ATTR_SLO)
    result = read_text(attributes, metrics.ATTR_RESULT)
    if not is_name(slo):
        raise Refused("slo is not an objective's name")
    if result not in EVENT_FIELDS:
        raise Refused("result is not good, bad or unmeasured")
    return Events(slo, result)


def _jitter_subject(_name: str, _attributes: Mapping[str, Any]) -> Gauge:
    return Gauge.INTERARRIVAL_JITTER


_ABOUT: Final[Mapping[str, Callable[[str, Mapping[str, Any]], About]]] = {
    metrics.RTT: sketch_subject,
    metrics.DELAY: sketch_subject,
    metrics.JITTER: sketch_subject,
    metrics.PACKETS: packets_subject,
    metrics.DUPLICATES: packets_subject,
    metrics.REORDERED: packets_subject,
    metrics.SLO_EVENTS: events_subject,
    metrics.INTERARRIVAL_JITTER: _jitter_subject,
}
