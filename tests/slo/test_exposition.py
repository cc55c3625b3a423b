from __future__ import annotations

import threading
from dataclasses import replace
from fractions import Fraction

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from netslo import metrics
from netslo.model import Path
from slo.exposition import SloCollector
from slo.forecast.exhaustion import Dates, Exhaustion
from slo.judge import FRESH_S, Judge
from slo.objective import CalendarWindow, Indicator
from slo.ranges import Ranges
from slo.totals import PersistentTotals

COVERAGE_MIN = Fraction(0)  # a window says something from its first event on
NOW_S = 1_800_000_000
NORTH = Path("london", "leeds", "ef")
LABELS = {
    "path": "london:leeds/ef",
    "src_site": "london",
    "dst_site": "leeds",
    "class": "ef",
    "scope": "national",
    "slo": "national-latency",
}


@pytest.fixture
def scrape(store, estate, latency, loss):
    judge = Judge(Ranges(store), [latency, loss], estate, lambda: NOW_S)
    registry = CollectorRegistry()
    registry.register(SloCollector(judge, PersistentTotals(store).read))

    def read() -> dict[str, dict[frozenset, float]]:
        found: dict[str, dict[frozenset, float]] = {}
        text = generate_latest(registry).decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
        return found

    return read


def of(**labels: str) -> frozenset:
    return frozenset({**LABELS, **labels}.items())


def test_registering_asks_the_store_for_nothing(store, estate, latency):
    judge = Judge(Ranges(store), [latency], estate)
    CollectorRegistry(auto_describe=True).register(SloCollector(judge, dict))
    assert store.queries == 0


def test_counters_are_the_totals_that_prometheus_reads_back(store, scrape, latency):
    store.add(NOW_S - 400 * 86400, NORTH, latency, good=900, bad=100, target="0.9")
    store.add(NOW_S - 60, NORTH, latency, good=1000, unmeasured=3)
    found = scrape()
    assert found[metrics.PROM_SLO_EVENTS][of()] == 2000
    assert found[metrics.PROM_SLO_BAD_EVENTS][of()] == 100
    assert found[metrics.PROM_SLO_BUDGET_EVENTS][of()] == 101  # each under its own target
    assert found[metrics.PROM_SLO_UNMEASURED_EVENTS][of()] == 3


def test_a_counter_stands_at_zero_before_its_first_event(scrape):
    found = scrape()
    assert found[metrics.PROM_SLO_EVENTS][of()] == 0
    assert len(found[metrics.PROM_SLO_EVENTS]) == 24 + 12  # all paths, and the national ones


def test_what_cannot_be_said_has_no_sample(scrape):
    found = scrape()
    assert metrics.PROM_SLO_BURN_RATE not in found
    assert metrics.PROM_SLO_BUDGET_REMAINING not in found
    assert set(found[metrics.PROM_SLO_COVERAGE].values()) == {0}
    assert found[metrics.PROM_SLO_OBJECTIVE][of()] == 0.999


def test_gauges_name_their_window_and_period(store, scrape, latency):
    store.add(NOW_S - 7200, NORTH, latency, good=1000)
    store.add(NOW_S - 60, NORTH, latency, good=999, bad=1, unmeasured=1000)
    found = scrape()
    assert found[metrics.PROM_SLO_BURN_RATE][of(window="5m")] == 1
    assert found[metrics.PROM_SLO_BURN_RATE][of(window="3d")] == 0.5
    assert found[metrics.PROM_SLO_BUDGET_REMAINING][of(period="28d")] == 0.5
    assert found[metrics.PROM_SLO_COVERAGE][of()] == 2000 / (28 * 86400 * 5)


def test_prose_stands_in_the_info_alone_and_survives_escaping(scrape):
    info = [dict(labels) for labels in scrape()[metrics.PROM_SLO_INFO]]
    by_slo = {labels["slo"]: labels for labels in info}
    assert by_slo["loss"]["display_name"] == 'Loss "of packets"'
    assert by_slo["loss"]["threshold_seconds"] == ""
    assert by_slo["national-latency"]["threshold_seconds"] == "0.1"
    assert by_slo["national-latency"]["least_bits_per_second"] == ""
    assert by_slo["national-latency"]["objective"] == "0.999"
    assert by_slo["national-latency"]["runbook"] == "https://runbooks.example/n?a=1"
    assert by_slo["loss"]["owner"] == ""


def test_a_bandwidth_that_is_promised_is_written_out(store, estate, loss):
    promised = replace(loss, indicator=Indicator.BANDWIDTH, limit=1.5e9)
    (info, *_) = SloCollector(Judge(Ranges(store), [promised], estate), dict).collect()
    (sample,) = info.samples
    assert sample.labels["least_bits_per_second"] == "1500000000"
    assert sample.labels["threshold_seconds"] == ""


def test_counts_of_an_objective_that_is_gone_are_not_shown(store, scrape, latency):
    gone = Path("london", "atlantis", "ef")
    store.add(NOW_S - 60, gone, latency, bad=5)
    assert {dict(labels)["dst_site"] for labels in scrape()[metrics.PROM_SLO_EVENTS]} == {
        "london", "reading", "brighton", "leeds",
    }  # fmt: skip


def test_a_crowd_of_askers_costs_one_evaluation(store, estate, latency):
    now_s = [float(NOW_S)]
    judge = Judge(Ranges(store), [latency], estate, lambda: now_s[0])
    threads = [threading.Thread(target=judge.judge) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    once = store.queries
    judge.judge()
    assert store.queries == once
    now_s[0] += FRESH_S
    assert judge.judge()[0] == now_s[0]
    assert store.queries > once


def test_a_clock_that_steps_back_does_not_freeze_the_statuses(store, estate, latency):
    now_s = [float(NOW_S)]
    judge = Judge(Ranges(store), [latency], estate, lambda: now_s[0])
    judge.judge()
    now_s[0] -= 3600
    assert judge.judge()[0] == now_s[0]


def test_the_date_of_exhaustion_is_absent_where_it_is_never(store, estate, latency, loss):
    calendar = replace(latency, calendar=CalendarWindow("1Q", "2026-01-01 00:00:00", "UTC"))
    dates = Dates(NOW_S + 1e5, NOW_S + 2e5, None, 0.7, NOW_S + 10**6)
    known = {(latency.name, NORTH): Exhaustion(dates, Dates(None, None, None, 0.0, NOW_S + 10**6))}
    judge = Judge(Ranges(store), [calendar, loss], estate, lambda: NOW_S, exhaustions=lambda: known)
    (family,) = (
        each
        for each in SloCollector(judge, dict).collect()
        if each.name == metrics.PROM_SLO_EXHAUSTION
    )
    assert {
        (s.labels["path"], s.labels["period"], s.labels["quantile"]): s.value
        for s in family.samples
    } == {(NORTH.id, "28d", "0.1"): NOW_S + 1e5, (NORTH.id, "28d", "0.5"): NOW_S + 2e5}
    (status,) = (s for s in judge.judge()[1] if s.exhaustion is not None)
    assert status.to_json()["exhaustion"]["rolling"]["p90"] is None
