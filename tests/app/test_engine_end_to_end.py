"""The collector alerts by itself: windows in, a real Alertmanager, a web hook out; and kill -9."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from ports import free_port
from real_prometheus import alertmanager, run, wait_until

from analytics.otlp import encode_batch
from analytics.windows import Batch, PacketCounts, PathWindow, SeriesKey, SloCounts
from netslo.app.webhook import Webhook
from netslo.config.estate_file import load_estate
from netslo.model import Path, Window
from slo.rules.alertmanager import Receivers, Waits, configuration
from slo.rules.yaml_text import to_yaml
from slo.spec import load_objectives

pytestmark = pytest.mark.waits

SITES = ("leeds", "london", "york")
SITE = """\
  - name: {0}
    tier: national
    region: {0}
    residency_zone: gb
    location: {{lat: 0, lon: 0}}
    addresses: ["127.0.0.1:{1}"]
"""
ESTATE = """\
version: 1
name: three
currency: GBP
classes: [{name: ef, dscp: 46}]
probing: {interval: 200ms, timeout: 1s}
sites:
""" + "".join(SITE.format(name, 20001 + n) for n, name in enumerate(SITES))
SLO = """\
apiVersion: openslo/v1
kind: SLO
metadata:
  name: loss
  annotations:
    netslo.dev/owner: noc
    netslo.dev/alert-pairs: page 1/1500 2m 1m
spec:
  service: backbone
  indicator:
    metadata: {name: loss}
    spec:
      ratioMetric:
        counter: true
        good:
          metricSource: {type: netslo, spec: {metric: network.probe.packets, outcome: answered}}
        total:
          metricSource:
            type: netslo
            spec: {metric: network.probe.packets, outcome: [answered, lost]}
  objectives: [{target: 0.999}]
  timeWindow: [{duration: 28d, isRolling: true}]
  budgetingMethod: Occurrences
"""
PATHS = [Path(a, b, "ef") for a in SITES for b in SITES if a != b]
ONE = Path("leeds", "london", "ef")


@pytest.fixture
def config(tmp_path):
    (tmp_path / "slos").mkdir()
    (tmp_path / "estate.yaml").write_text(ESTATE)
    (tmp_path / "slos" / "loss.yaml").write_text(SLO)
    return tmp_path


class Probes:
    """Delivers windows of the last two minutes, and then more, as if it had measured them.

    Older ones would be a backlog, which nothing is judged by for a while.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.delivered_s = int(time.time()) // 10 * 10 - 110
        self.sequence = 0

    def deliver(self, bad: dict[Path, int], until_s: int | None = None) -> None:
        """Bring all windows that have ended since the last time, or until then."""
        until_s = int(time.time()) // 10 * 10 if until_s is None else until_s
        starts = range(self.delivered_s, until_s, 10)
        self.delivered_s = max(self.delivered_s, until_s)
        for site in SITES:
            windows = tuple(
                _window(path, start_s, bad.get(path, 0))
                for path in PATHS
                for start_s in starts
                if path.src == site
            )
            if windows:
                body = encode_batch(Batch(site, site, self.sequence, windows))
                headers = {"Content-Type": "application/x-protobuf"}
                request = urllib.request.Request(f"{self.url}/v1/metrics", body, headers)
                with urllib.request.urlopen(request, timeout=30) as answer:
                    assert answer.status == 200
        self.sequence += 1


def _window(path: Path, start_s: int, bad: int) -> PathWindow:
    counts = {"loss": SloCounts(50 - bad, bad)}
    return PathWindow(SeriesKey(path), Window(start_s), PacketCounts(50 - bad, bad), slo=counts)


@contextmanager
def pipeline(config, hook: Webhook) -> Iterator[object]:
    """Run Alertmanager with what netslo generates, sixty times less patient."""
    objectives = load_objectives(config, load_estate(config))
    names = [receiver["name"] for receiver in configuration(objectives)["receivers"]]
    waits = Waits(path_s=120.0, site_s=10.0, group_s=60.0, scale=60)
    made = configuration(objectives, Receivers(dict.fromkeys(names, hook.url)), waits)
    file = config / "alertmanager.yml"
    file.write_text(to_yaml(made, "test"))
    assert run("amtool", "check-config", file).returncode == 0
    with alertmanager(config, file) as manager:
        yield manager


def begin(start, config, listen: str, manager) -> tuple[object, str]:
    collector = start("collect", "-c", config, "--listen", listen, "--alertmanager", manager.url)
    return collector, collector.wait_for(r"(http://\S+:\d+)")[1]


def pages(hook: Webhook, status: str = "firing") -> list[tuple[str, str]]:
    """Return (name, path or site) of what the owner or operations were told, in order."""
    list(hook.news())
    return [
        (each["labels"]["alertname"], each["labels"].get("path") or each["labels"]["src_site"])
        for each in hook.told
        if each["receiver"] != "escalation" and each["status"] == status
    ]


def test_a_fault_pages_once_through_kill_and_restart_until_it_is_over(start, config) -> None:
    """A fault that began a minute ago and goes on until somebody is told."""
    with Webhook() as hook, pipeline(config, hook) as manager:
        collector, url = begin(start, config, f"127.0.0.1:{free_port()}", manager)
        wait_until(lambda: manager.get("/api/v2/alerts"), "the heartbeat is told")
        probes = Probes(url)
        fault_s = probes.delivered_s + 50
        probes.deliver({}, until_s=fault_s)
        assert not pages(hook)

        def paged() -> bool:
            probes.deliver({ONE: 25})
            return bool(pages(hook))

        wait_until(paged, "the page", 120, 0.2)
        ended_s = probes.delivered_s
        assert pages(hook) == [("SLOBurnPage", ONE.id)]
        (told,) = [each for each in hook.told if each["receiver"] == "noc"]
        assert told["labels"]["pair"] == "2m/1m"
        assert "burns" in told["annotations"]["summary"]
        assert told["annotations"]["runbook_url"].endswith("SLOBurnPage.md")

        collector.kill()
        begin(start, config, url.removeprefix("http://"), manager)

        def over() -> bool:
            probes.deliver({})
            return bool(pages(hook, "resolved"))

        wait_until(over, "it is over", 240, 0.5)
        assert time.time() > ended_s + 50  # no sooner than the short window can say so
        (ended,) = [e for e in hook.told if e["status"] == "resolved" and e["receiver"] == "noc"]
        assert ended["startsAt"] == told["startsAt"]
        assert pages(hook) == [("SLOBurnPage", ONE.id)]
