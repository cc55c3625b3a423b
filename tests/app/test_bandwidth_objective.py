"""Readings in, by HTTP; judged budgets, counters, a page and the shell's answer out."""

from __future__ import annotations

import json
import time
import urllib.request

import pytest
from real_prometheus import wait_until
from two_sites import link_estate

from analytics.otlp import encode_batch
from analytics.readings import Reading
from analytics.windows import Batch
from netslo.metrics import BANDWIDTH
from netslo.model import NS_PER_S, Path
from slo.rates import GRACE_S

pytestmark = [pytest.mark.waits, pytest.mark.timeout(600)]

DAY = 86_400  # a slice: so that hardly ever one ends while the test goes on
ESTATE = link_estate("[{name: be, dscp: 0}]", ", bandwidth: {interval: 1d}")
SLO = """\
apiVersion: openslo/v1
kind: SLO
metadata:
  name: rate
  annotations:
    netslo.dev/alert-pairs: page 20% 7d 1d
    netslo.dev/min-bad-events: "2"
spec:
  service: backbone
  indicator:
    metadata: {name: rate}
    spec:
      thresholdMetric:
        metricSource: {type: netslo, spec: {metric: network.path.bandwidth}}
  objectives: [{op: gte, value: 400e6, target: 0.95, timeSliceTarget: 1, timeSliceWindow: 24h}]
  budgetingMethod: Timeslices
"""
FELL, STAYED = Path("london", "leeds", "be"), Path("leeds", "london", "be")


@pytest.fixture
def config(tmp_path):
    (tmp_path / "slos").mkdir()
    (tmp_path / "estate.yaml").write_text(ESTATE)
    (tmp_path / "slos" / "rate.yaml").write_text(SLO)
    return tmp_path


def deliver(url: str, path: Path, rates: list[float]) -> None:
    """Deliver a reading of each of the last days, the newest last, as its probe does."""
    over_s = int(time.time() - GRACE_S) // DAY * DAY
    readings = tuple(
        Reading(path, (over_s - n * DAY - DAY // 2) * NS_PER_S, BANDWIDTH, "forward", "train", rate)
        for n, rate in enumerate(reversed(rates))
    )
    body = encode_batch(Batch(path.src, f"{path.src}-1", 1, (), readings=readings))
    headers = {"Content-Type": "application/x-protobuf"}
    request = urllib.request.Request(f"{url}/v1/metrics", body, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 200


def ask(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.read().decode()


def test_a_rate_that_falls_below_its_objective_burns_the_budget_and_pages(start, config) -> None:
    collector = start("collect", "-c", config, "--listen", "127.0.0.1:0")
    url = collector.wait_for(r"(http://\S+:\d+)")[1]
    deliver(url, FELL, [940e6] * 20 + [120e6] * 4)
    deliver(url, STAYED, [940e6] * 24)

    def statuses() -> dict[str, dict]:
        return {each["path"]: each for each in json.loads(ask(f"{url}/api/v1/slos"))["slos"]}

    wait_until(lambda: statuses()[FELL.id]["bad_events"] == 4, "four bad slices", 120)
    wait_until(lambda: statuses()[STAYED.id]["events"] == 24, "the other path's slices", 120)
    found = statuses()
    fell, stayed = found[FELL.id], found[STAYED.id]
    assert (fell["events"], fell["rate"], fell["severity"]) == (24, 400e6, "page")
    assert fell["burn_rate"]["1d"] == pytest.approx(1 / 0.05)
    assert fell["burn_rate"]["3d"] == pytest.approx(1 / 0.05)
    assert fell["budget_remaining_ratio"] == pytest.approx(1 - 4 / (24 * 0.05))
    assert (stayed["bad_events"], stayed["severity"]) == (0, None)

    def pages() -> list[dict]:
        alerts = json.loads(ask(f"{url}/api/v1/alerts"))["alerts"]
        return [each for each in alerts if each["labels"]["alertname"] == "SLOBurnPage"]

    wait_until(pages, "the page", 60)
    (page,) = pages()
    assert (page["labels"]["path"], page["labels"]["pair"]) == (FELL.id, "7d/1d")
    evidence = page["annotations"]["evidence"]
    assert evidence.startswith("120 Mbit/s forward by train at ")
    assert "at least 400 Mbit/s promised" in evidence

    def counted() -> set[str]:
        wanted = f'slo_bad_events_total{{class="be",dst_site="leeds",path="{FELL.id}"'
        return {line.split()[-1] for line in ask(f"{url}/metrics").splitlines() if wanted in line}

    # A new file of counters begins 48 h back, in which two days end, or one.
    wait_until(lambda: counted() & {"1.0", "2.0"}, "the counter", 90)
    assert "400 Mbit/s" in ask(f"{url}/")
    assert "400 Mbit/s" in ask(f"{url}/paths/{FELL.id}")
    status = start("slo", "status", "-c", config)
    assert status.process.wait(120) == 1
