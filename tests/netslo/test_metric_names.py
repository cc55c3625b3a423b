"""The one list of names: unique, and formed as OpenTelemetry and Prometheus ask."""

import re

from netslo import metrics


def names(prefix: str) -> dict[str, str]:
    return {key: value for key, value in vars(metrics).items() if re.match(prefix, key)}


def test_every_name_stands_once() -> None:
    values = [v for k, v in vars(metrics).items() if k.isupper() and isinstance(v, str)]
    assert len(values) == len(set(values))


def test_prometheus_names_have_base_units_and_counters_end_in_total() -> None:
    for name in names("PROM_").values():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
        assert not re.search(r"_(ms|milliseconds|percent)\b", name)


def test_otlp_names_are_dotted_lower_case() -> None:
    for name in (metrics.RTT, metrics.JITTER, metrics.PACKETS, metrics.SLO_EVENTS):
        assert re.fullmatch(r"[a-z]+(\.[a-z_]+)+", name)
