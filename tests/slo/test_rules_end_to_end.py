"""A fault until it reaches a person: exporter, real Prometheus, real Alertmanager, web hook.

Windows go by sixty times faster than their names say. The exporter publishes what a collector
would, and its own log says when each fault began; so the theory and the web hook are compared
with the same clock, however busy the machine is: with five at work for two processors the
overhead was 1.47 to 1.50 s, most of it what Alertmanager waits by its configuration. Prometheus
begins with a past that promtool has written, so that nobody waits for windows to fill.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from real_prometheus import alertmanager, prometheus, run, wait_until

from netslo import metrics
from netslo.estate import Estate
from netslo.model import Path
from slo.burn import PAIRS
from slo.objective import Objective
from slo.policy import HEARTBEAT, AlertPolicy
from slo.rules import expressions
from slo.rules.alertmanager import DEFAULT, ESCALATION, Receivers, Waits, configuration
from slo.rules.exposition import ThresholdCollector
from slo.rules.layout import Timing
from slo.rules.rules import rule_file
from slo.rules.yaml_text import to_yaml

pytestmark = pytest.mark.waits

SCALE = 60
RATE = 200.0  # events a second of each path
HEALTHY = 0.0001  # of them bad
CADENCE_S = 0.5  # of scrapes and evaluations
PAGE = PAIRS[0]
SLACK_S = 3.0  # what is promised
PATIENCE_S = 90.0
PAST_S = 90  # more than a long window


@dataclass(eq=False)
class Network:
    """Counters of all paths, as a function of time, and the log of what was done to them."""

    objectives: list[Objective]
    estate: Estate
    errors: dict[str, float] = field(default_factory=dict)  # by path id
    dead: set[str] = field(default_factory=set)  # sites whose probes deliver nothing
    log: list[tuple[float, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.paths = {path.id: path for path in self.estate.paths}
        self.counts = {
            (o.name, path.id): [RATE * PAST_S, RATE * PAST_S * HEALTHY]
            for o in self.objectives
            for path in o.paths(self.estate)
        }
        self.packets = dict.fromkeys(self.paths, (RATE * PAST_S, 0.0))  # answered, lost
        self.last = dict.fromkeys(self.estate.sites, time.time())
        self.began_s = self.advanced_s = time.time()

    def advance(self) -> None:
        now_s = time.time()
        events = RATE * (now_s - self.advanced_s)
        self.advanced_s = now_s
        for (_, path_id), counts in self.counts.items():
            if self.paths[path_id].src not in self.dead:
                counts[0] += events
                counts[1] += events * self.errors.get(path_id, HEALTHY)
        for path_id, (answered, lost) in self.packets.items():
            if self.paths[path_id].src not in self.dead:
                bad = events * self.errors.get(path_id, 0.0)
                self.packets[path_id] = answered + events - bad, lost + bad
        for site in set(self.last) - self.dead:
            self.last[site] = now_s

    def change(self, what: str, errors: dict[str, float], dead: set[str] = frozenset()) -> float:
        """Let other error ratios hold from now on; return when that was."""
        with self.lock:
            self.advance()
            self.errors, self.dead = dict(errors), set(dead)
            self.log.append((self.advanced_s, what))
            return self.advanced_s

    def collect(self):
        """Publish as the collector does."""
        labels = ("path", "src_site", "dst_site", "class", "scope", "slo")
        names = (
            metrics.PROM_SLO_EVENTS,
            metrics.PROM_SLO_BAD_EVENTS,
            metrics.PROM_SLO_BUDGET_EVENTS,
        )
        families = [CounterMetricFamily(name, name, labels=labels) for name in names]
        targets = {o.name: float(o.target) for o in self.objectives}
        with self.lock:
            self.advance()
            for (slo, path_id), (events, bad) in self.counts.items():
                path = self.paths[path_id]
                of = [path_id, path.src, path.dst, path.traffic_class, "national", slo]
                for family, value in zip(
                    families, (events, bad, events * (1 - targets[slo])), strict=True
                ):
                    family.add_metric(of, value)
            last = GaugeMetricFamily(
                metrics.PROM_PROBE_LAST_WINDOW, "Last window", labels=["src_site"]
            )
            for site, unix_s in self.last.items():
                last.add_metric([site], unix_s)
            commit = GaugeMetricFamily(
                metrics.PROM_COLLECTOR_LAST_COMMIT, "Last commit", self.advanced_s
            )
            packets = CounterMetricFamily(metrics.PROM_PACKETS, "P", labels=["path", "outcome"])
            rtt = GaugeMetricFamily(metrics.PROM_RTT_QUANTILE, "R", labels=list(P99))
            for path_id, (answered, lost) in self.packets.items():
                packets.add_metric([path_id, "answered"], answered)
                packets.add_metric([path_id, "lost"], lost)
                rtt.add_metric([path_id, *list(P99.values())[1:]], 0.085)
        info = GaugeMetricFamily(metrics.PROM_SLO_INFO, "Info", labels=["slo", "owner", "runbook"])
        for o in self.objectives:
            info.add_metric([o.name, o.owner or "", o.runbook or ""], 1)
        return [*families, last, commit, packets, rtt, info]

    def past(self, instance: str) -> Iterator[str]:
        """Yield OpenMetrics lines of what would have been scraped before now.

        Of an hour ago there is what the evidence of a page looks at.
        """
        began_s = int(self.began_s)
        for path_id in self.paths:
            for ago_s in range(3600 + 330, 3600 - 90, -30):
                for name, more, value in (
                    (metrics.PROM_RTT_QUANTILE, {**P99, "path": path_id}, 0.01),
                    (metrics.PROM_PACKETS, {"path": path_id, "outcome": "answered"}, 4000 - ago_s),
                    (metrics.PROM_PACKETS, {"path": path_id, "outcome": "lost"}, 0),
                ):
                    labels = _labels({**more, "job": "netslo", "instance": instance})
                    yield f"{name}{labels} {value} {began_s - ago_s}"
        for family in self.collect():
            if isinstance(family, CounterMetricFamily):
                for sample in family.samples:
                    labels = _labels({**sample.labels, "job": "netslo", "instance": instance})
                    for ago_s in range(PAST_S - 1, -1, -1):
                        value = sample.value * (1 - ago_s / PAST_S)
                        yield f"{sample.name}{labels} {value} {began_s - ago_s}"
        yield "# EOF"


P99 = {"path": "", "quantile": "0.99", "window": "5m", "convention": "delivered"}


def _labels(of: dict[str, str]) -> str:
    return "{" + ",".join(f"{name}={json.dumps(value)}" for name, value in of.items()) + "}"


@dataclass(frozen=True)
class Notice:
    """One request of Alertmanager's to a receiver."""

    at_s: float
    receiver: str
    status: str  # of the group
    alerts: tuple[tuple[str, str, str], ...]  # status, alertname, path or site
    annotations: tuple[dict[str, str], ...]


@contextmanager
def web(network: Network, notices: list[Notice]) -> Iterator[str]:
    """Serve the exporter and the web hooks."""
    registry = CollectorRegistry()
    registry.register(network)
    estate = replace(network.estate, plan=replace(network.estate.plan, interval_s=1 / RATE))
    registry.register(ThresholdCollector(network.objectives, estate, scale=SCALE))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(generate_latest(registry))

        def do_POST(self) -> None:
            told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            alerts = told["alerts"]
            notices.append(
                Notice(
                    time.time(),
                    told["receiver"],
                    told["status"],
                    tuple((a["status"], a["labels"]["alertname"], subject(a)) for a in alerts),
                    tuple(a["annotations"] for a in alerts),
                )
            )
            self.answer(b"")

        def answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def subject(alert: dict) -> str:
    labels = alert["labels"]
    return labels.get("path") or labels.get("dst_site") or labels.get("src_site", "")


@contextmanager
def pipeline(folder, network: Network, notices: list[Notice]) -> Iterator[object]:
    """Run all of it."""
    with ExitStack() as stack:
        address = stack.enter_context(web(network, notices))
        timing = Timing(fast_s=CADENCE_S * SCALE, slow_s=4 * CADENCE_S * SCALE, scale=SCALE)
        rules = to_yaml(rule_file(network.objectives, timing), "test")
        (folder / "rules.yml").write_text(rules)
        hook = f"http://{address}/"
        names = (DEFAULT, ESCALATION, HEARTBEAT, "noc")
        waits = Waits(path_s=60.0, site_s=10.0, group_s=60.0, scale=SCALE)
        made = configuration(network.objectives, Receivers(dict.fromkeys(names, hook)), waits)
        file = folder / "alertmanager.yml"
        file.write_text(to_yaml(made, "test"))
        checked = run("amtool", "check-config", file)
        assert checked.returncode == 0, checked.stdout + checked.stderr
        manager = stack.enter_context(alertmanager(folder, file))
        (folder / "past").write_text("\n".join(network.past(address)) + "\n")
        written = run("promtool", "tsdb", "create-blocks-from", "openmetrics",
                      folder / "past", folder / "data")  # fmt: skip
        assert written.returncode == 0, written.stdout + written.stderr
        config = {
            "global": {
                "scrape_interval": f"{CADENCE_S * 1000:.0f}ms",
                "scrape_timeout": f"{CADENCE_S * 1000:.0f}ms",
                "evaluation_interval": f"{CADENCE_S * 1000:.0f}ms",
            },
            "rule_files": ["rules.yml"],
            "alerting": {
                "alertmanagers": [
                    {"static_configs": [{"targets": [manager.url.removeprefix("http://")]}]}
                ]
            },
            "scrape_configs": [{"job_name": "netslo", "static_configs": [{"targets": [address]}]}],
        }
        yield stack.enter_context(prometheus(folder, config, "--rules.alert.resend-delay=1s"))


def pages(notices: list[Notice], receiver: str | None = None) -> list[Notice]:
    """Return what woke somebody: all but heartbeats and escalations."""
    return [
        n
        for n in notices
        if n.receiver not in {HEARTBEAT, ESCALATION} and receiver in (None, n.receiver)
    ]


def said_of(notices: list[Notice], names: set[str]) -> list[tuple[str, str, str]]:
    """Return what pages said by the alerts of some names.

    A machine that stalls for seconds is a silent collector to these rules, and rightly so; that
    is no part of what is asked here.
    """
    return [alert for n in pages(notices) for alert in n.alerts if alert[1] in names]


BURNS = {"SLOBurnPage", "SLOBurnTicket", "SLOSiteBurnPage"}


def told(notices: list[Notice], status: str, alert: str, about: str) -> Notice | None:
    wanted = (status, alert, about)
    return next((n for n in pages(notices) if wanted in n.alerts), None)


@pytest.mark.timeout(900)
def test_faults_page_in_time_healthy_paths_are_silent_and_a_dead_site_pages_once(
    tmp_path, estate, latency, loss, capsys, monkeypatch
) -> None:
    # A machine that stalls for two seconds would be a silent collector, which silences all else.
    monkeypatch.setattr(expressions, "COLLECTOR_SILENT_S", 30 * SCALE)
    monkeypatch.setattr("slo.rules.rules.COLLECTOR_FOR_S", 30 * SCALE)
    # Only the page of an hour: its window is a minute here, and so is its reset.
    policy = AlertPolicy(pairs=(PAGE,))
    objectives = [replace(o, alerts=policy) for o in (latency, replace(loss, owner="noc"))]
    objectives[1] = replace(objectives[1], target_text="0.999")
    network = Network(objectives, estate)
    notices: list[Notice] = []
    with pipeline(tmp_path, network, notices) as server:
        known = f"count(slo_bad_events_total offset 5s) >= {len(network.counts)}"
        wait_until(lambda: server.query(known), "short windows are known", 60)
        young = f"count(slo_bad_events_total offset {PAGE.long_s // SCALE}s)"
        assert server.query(young), "the past is not there"
        assert wait_until(lambda: [n for n in notices if n.receiver == HEARTBEAT], "a heartbeat")
        assert not said_of(notices, BURNS)

        # One path loses a tenth; another loses all, and then its probe falls silent.
        path, held = Path("london", "reading", "ef").id, Path("reading", "london", "ef").id
        tenth = {path: 0.1}
        began_s = network.change("a tenth, and all of another", {**tenth, held: 1.0})
        wait_until(lambda: told(notices, "firing", "SLOBurnPage", held), "the page", PATIENCE_S)
        silent_s = network.change("that probe stops", tenth, {"reading"})
        page = wait_until(
            lambda: told(notices, "firing", "SLOBurnPage", path), "the page", PATIENCE_S, 0.02
        )
        theory_s = float(PAGE.threshold(latency.window_s)) * 0.001 * 60 / 0.1
        took_s = page.at_s - began_s
        with capsys.disabled():
            print(
                f"\n10% loss: theory {theory_s:.2f} s, web hook {took_s:.2f} s, "
                f"overhead {took_s - theory_s:.2f} s (promised {SLACK_S} s, windows / {SCALE})"
            )
        assert theory_s - 1.0 < took_s < theory_s + SLACK_S
        (said,) = [a for a in page.annotations if path in a["summary"]]
        assert "pair 1h/5m" in said["summary"]
        assert said["owner"] == "noc"
        assert said["runbook_url"] == "docs/runbooks/SLOBurnPage.md"
        assert said["budget"].endswith("is measured to say what is left of its budget")
        assert said["evidence"].startswith("p99 RTT now 85ms, an hour before 10ms; loss now ")
        assert said["evidence"].endswith("%, an hour before 0%")
        assert "error expanding" not in json.dumps(page.annotations)
        over_s = network.change("it is mended", {}, {"reading"})
        resolved = wait_until(
            lambda: told(notices, "resolved", "SLOBurnPage", path), "the end", PATIENCE_S, 0.05
        )
        assert resolved.at_s > over_s
        wait_until(
            lambda: told(notices, "firing", "SLOProbeDown", "reading"), "the silence", PATIENCE_S
        )
        wait_until(lambda: time.time() > silent_s + 15, "three short windows", 30)
        assert told(notices, "resolved", "SLOBurnPage", held) is None  # data have only stopped
        network.change("the probe is back, and the path too", {})
        wait_until(lambda: told(notices, "resolved", "SLOBurnPage", held), "the end", PATIENCE_S)
        assert {about for _, _, about in said_of(notices, BURNS)} == {path, held}

        # A site dies: nobody gets an answer from it, and its probe delivers nothing.
        del notices[:]
        dead = "brighton"
        lost = {p.id: 1.0 for p in estate.paths if p.dst == dead}
        network.change("a site dies", lost, {dead})
        wait_until(
            lambda: told(notices, "firing", "SLOSiteBurnPage", dead), "the site's page", PATIENCE_S
        )
        burning = 'count(ALERTS{alertname="SLOBurnPage",alertstate="firing"}) >= 6'
        wait_until(lambda: server.query(burning), "all its paths burn", PATIENCE_S)
        down = f'ALERTS{{alertname="SLOProbeDown",alertstate="firing",src_site="{dead}"}}'
        wait_until(lambda: server.query(down), "its probe is down", PATIENCE_S)
        wait_until(lambda: time.time() > network.log[-1][0] + 8, "somebody might page again", 20)
        about = said_of(notices, {*BURNS, "SLOCoverageLow"})
        about += [a for a in said_of(notices, {"SLOProbeDown"}) if a[2] == dead]
        fired = [each for each in about if each[0] == "firing"]  # of before, much ends only now
        assert fired == [("firing", "SLOSiteBurnPage", dead)]
