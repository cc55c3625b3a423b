"""The one list of names: unique, and formed as OpenTelemetry and Prometheus ask."""

import pathlib
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


def test_every_metric_is_defined_in_the_documentation() -> None:
    page = pathlib.Path(__file__).parents[2] / "docs" / "metrics.md"
    documented = set(re.findall(r"`([a-z_.]+)`", page.read_text(encoding="utf-8")))
    known = {
        value
        for key, value in vars(metrics).items()
        if isinstance(value, str)
        and key.isupper()
        and not key.startswith("ATTR_")
        and key != "SERVICE_NAME"
    }
    assert known - documented == set()
    named = {name for name in documented if re.match(r"(network|netslo|slo)[._][a-z]", name)}
    assert {name for name in named if not name.endswith(".md")} - known == set()
