"""Single fields of a data point: each is checked as it is read, or the point is refused."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from analytics.sketch import COUNT_MAX
from analytics.windows import SeriesKey
from netslo import metrics
from netslo.model import NS_PER_S, WINDOW_S, Path, ProbeKind, Window, is_name

TEXT_MAX: Final = 200
_TIME_S_MAX: Final = 2**33  # the year 2242: beyond it, a time is a mistake


class Refused(ValueError):
    """One data point cannot be used; the message is the reason, without values that vary."""


def data_points(metric: Metric) -> Any:
    kind = metric.WhichOneof("data")
    return () if kind is None else getattr(metric, kind).data_points


def read_attributes(pairs: Iterable[KeyValue], at_most: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in pairs:
        if len(found) >= at_most:
            raise Refused("too many attributes")
        kind = pair.value.WhichOneof("value")
        if kind in ("string_value", "int_value", "bool_value", "double_value"):
            found[pair.key] = getattr(pair.value, kind)
    return found


def read_text(attributes: Mapping[str, Any], key: str, default: str | None = None) -> str:
    value = attributes.get(key, default)
    if not isinstance(value, str):
        raise Refused(f"attribute {key} is missing or no text")
    if len(value) > TEXT_MAX:
        raise Refused(f"attribute {key} is too long")
    return value


def read_site(attributes: Mapping[str, Any]) -> str:
    """Return the site that speaks; other people's tools name none."""
    site = read_text(attributes, metrics.ATTR_SITE, default="")
    if site and not is_name(site):
        raise Refused("netslo.site is not a site's name")
    return site


def read_member(enum: Any, attributes: Mapping[str, Any], key: str, default: Any = None) -> Any:
    try:
        return enum(read_text(attributes, key, default))
    except Refused:
        raise
    except ValueError:
        raise Refused(f"attribute {key} is none of {', '.join(enum)}") from None


def read_path(attributes: Mapping[str, Any]) -> Path:
    src, dst = read_text(attributes, metrics.ATTR_SRC), read_text(attributes, metrics.ATTR_DST)
    traffic_class = read_text(attributes, metrics.ATTR_CLASS)
    if not (is_name(src) and is_name(dst) and is_name(traffic_class)):
        raise Refused("src_site, dst_site or class is not a name")
    return Path(src, dst, traffic_class)


def read_series(attributes: Mapping[str, Any]) -> SeriesKey:
    path = read_path(attributes)
    probe = read_member(ProbeKind, attributes, metrics.ATTR_PROBE, default=ProbeKind.STAMP)
    return SeriesKey(path, probe)


def read_window(point: Any) -> Window:
    """Return the window of a point: whole, aligned, 10 s; a gauge of others may lack its start."""
    end_ns, start_ns = point.time_unix_nano, point.start_time_unix_nano
    if not 0 < end_ns <= _TIME_S_MAX * NS_PER_S or start_ns >= end_ns:
        raise Refused("time is missing, or does not lie after the start")
    if not start_ns:
        return Window.containing(end_ns - 1)
    window = Window.containing(start_ns)
    if end_ns > window.end_s * NS_PER_S:
        raise Refused(f"the point spans more than one {WINDOW_S} s window")
    return window


def read_time_ns(point: Any) -> int:
    """Return when a point without a window was seen, Unix ns."""
    time_ns = int(point.time_unix_nano)
    if not 0 < time_ns <= _TIME_S_MAX * NS_PER_S:
        raise Refused("time is missing or out of range")
    return time_ns


def read_number(point: Any) -> float:
    kind = point.WhichOneof("value")
    value = float(getattr(point, kind)) if kind else math.nan
    if not math.isfinite(value):
        raise Refused("value is missing or not finite")
    return value


def read_count(point: Any) -> int:
    value = read_number(point)
    if value < 0 or value != int(value) or value > COUNT_MAX:
        raise Refused("count is not a whole number from 0")
    return int(value)


def read_health_value(kind: str | None, point: Any) -> float:
    if kind in ("sum", "gauge"):
        return read_number(point)
    if kind in ("histogram", "exponential_histogram"):
        value = float(point.max) if point.HasField("max") else math.nan
        if math.isfinite(value):
            return value
    raise Refused("health value is missing or not finite")


def without_numbers(text: str) -> str:
    """Return a message with N for each number, so that reasons stay few."""
    words = ("N" if any(c.isdigit() for c in word) else word for word in text.split())
    return " ".join(words)[:TEXT_MAX]
