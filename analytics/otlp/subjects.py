"""What a data point is about, from its metric's name and its attributes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from analytics.otlp.fields import Refused, read_member, read_series, read_text
from analytics.otlp.instruments import COUNTS, DIRECTED, GAUGES, HISTOGRAM, INSTRUMENTS
from analytics.streams import EVENT_FIELDS, About, Events, Gauge, Packets
from analytics.windows import DIRECTIONS, CountKey, SeriesKey, SketchKey
from netslo import metrics
from netslo.model import Outcome, Quality, is_name


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
    quality = None
    if INSTRUMENTS[name].has_quality:
        quality = read_member(Quality, attributes, metrics.ATTR_QUALITY, default=Quality.C)
    return SketchKey(name, quality, _direction(name, attributes))


def count_subject(name: str, attributes: Mapping[str, Any]) -> CountKey:
    attribute, values = COUNTS[name]
    what = read_text(attributes, attribute) if attribute else ""
    if attribute and what not in values:
        raise Refused(f"attribute {attribute} says nothing that is known")
    return CountKey(name, what, _direction(name, attributes))


def _direction(name: str, attributes: Mapping[str, Any]) -> str:
    direction = read_text(attributes, metrics.ATTR_DIRECTION, default="")
    if (name in DIRECTED) != (direction in DIRECTIONS):
        raise Refused(f"direction {'missing' if name in DIRECTED else 'not expected'}")
    return direction


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


def gauge_subject(name: str, _attributes: Mapping[str, Any]) -> Gauge:
    return GAUGES[name]


_ABOUT: Final[Mapping[str, Callable[[str, Mapping[str, Any]], About]]] = {
    **{name: sketch_subject for name, it in INSTRUMENTS.items() if it.kind == HISTOGRAM},
    **dict.fromkeys(COUNTS, count_subject),
    **dict.fromkeys(GAUGES, gauge_subject),
    metrics.PACKETS: packets_subject,
    metrics.DUPLICATES: packets_subject,
    metrics.REORDERED: packets_subject,
    metrics.SLO_EVENTS: events_subject,
}
