"""What alerting costs a real Prometheus: our constant rules beside one specification per path.

10,000 paths x 3 SLOs under the rules that `netslo slo rules` makes: each expression by itself, then
all of them with their own intervals for some minutes; then the peers' layout (sloth's and pyrra's
without grouping: 17 rules for each path and SLO, evaluated every minute) for a part of them,
extrapolated by the number of rules. Cost is CPU time of the Prometheus process, so that a busy
machine changes little, over what it takes without any rule, once it has compacted what was loaded.

    python benchmarks/rules.py [--paths 10000] [--minutes 4] [--peers 200]
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import yaml

from analytics.prometheus import wire
from analytics.prometheus.remote_write import HEADERS, snappy
from netslo import metrics
from slo.rules.layout import RULES_MAX, Timing
from slo.rules.rules import rule_file
from slo.rules.yaml_text import to_yaml

SLOS = ("latency", "loss", "jitter")
TARGET = 0.999
RATE = 1.0  # packets a second of each path
BURNING = 20  # paths
STEP_S = 60
FRESH_STEP_S = 15  # as it is scraped, where a rule reads every sample
WINDOWS_S = (0, 300, 1800, 3600, 7200, 21600, 86400, 259200)
AROUND_S = 360  # of each moment that a rule looks at
FRESH_S = 300
HEAD_S_MAX = 3 * 3600  # above it, Prometheus makes blocks of its head, looking once a minute
LOADING_S = 600  # what loading, and what comes before rules are evaluated, may take
SERIES_PER_REQUEST = 6000
PEER_RULES = 17
TOLD = 4 * BURNING * len(SLOS)  # all pairs of what burns


class Series(NamedTuple):
    """One series: its value is `start` at first, and grows by so much a second."""

    labels: bytes
    growth: float
    start: float


def labels(name: str, **of: str) -> bytes:
    whole = {"__name__": name, "job": "netslo", "instance": "c1", **of}
    return b"".join(
        wire.octets(1, wire.text(1, k) + wire.text(2, v)) for k, v in sorted(whole.items())
    )


def all_labels(paths: int, slos: Sequence[str]) -> list[Series]:
    """Return every counter."""
    found = []
    for number in range(paths):
        src, dst = f"edge{number // 20:04d}", f"regional{number % 20:02d}"
        of = {
            "path": f"{src}:{dst}/ef", "src_site": src, "dst_site": dst, "class": "ef",
            "scope": "edge",
        }  # fmt: skip
        bad = RATE * (0.05 if number < BURNING else 0.0002)
        for slo in slos:
            for name, growth in (
                ("slo_events_total", RATE),
                ("slo_bad_events_total", bad),
                ("slo_budget_events_total", RATE * (1 - TARGET)),
            ):
                found.append(Series(labels(name, slo=slo, **of), growth, 1e6 * growth))
    return found


def others(paths: int, first_s: float) -> list[Series]:
    """Return what the collector publishes beside counters: limits, and that all are at work."""
    found = {}
    for slo in SLOS:
        for pair, severity, burn in (
            ("1h/5m", "page", 13.44), ("6h/30m", "page", 5.6),
            ("1d/2h", "ticket", 2.8), ("3d/6h", "ticket", 0.9333),
        ):  # fmt: skip
            found[labels("slo_burn_threshold", slo=slo, pair=pair, severity=severity)] = burn
            found[labels("slo_bad_events_min", slo=slo, pair=pair)] = 3.0
        for text, seconds in (
            ("5m", 300), ("30m", 1800), ("1h", 3600), ("2h", 7200), ("6h", 21600),
            ("1d", 86400), ("3d", 259200),
        ):  # fmt: skip
            least = 0.5 * seconds * RATE * (1 - TARGET)
            found[labels("slo_budget_events_min", slo=slo, window=text)] = least
    for number in range(-(-paths // 20)):
        found[labels("slo_site_peers", site=f"edge{number:04d}")] = 20.0
    limits = [Series(of, 0.0, value) for of, value in found.items()]
    times = [labels(metrics.PROM_COLLECTOR_LAST_COMMIT)] + [
        labels(metrics.PROM_PROBE_LAST_WINDOW, src_site=f"edge{number:04d}")
        for number in range(-(-paths // 20))
    ]
    return limits + [Series(of, 1.0, first_s) for of in times]


def post(url: str, body: bytes) -> None:
    request = urllib.request.Request(f"{url}/api/v1/write", snappy(body), dict(HEADERS))
    urllib.request.urlopen(request, timeout=300).close()


def samples(times_s: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the Sample messages of each series, shape (series, octets)."""
    at = np.array([list(wire.varint(int(t) * 1000)) for t in times_s], np.uint8)
    rows, count = values.shape
    out = np.empty((rows, count, 12 + at.shape[1]), np.uint8)
    out[:, :, 0], out[:, :, 1], out[:, :, 2] = 0x12, 10 + at.shape[1], 0x09
    out[:, :, 3:11] = np.ascontiguousarray(values, "<f8").view(np.uint8).reshape(rows, count, 8)
    out[:, :, 11], out[:, :, 12:] = 0x10, at[None]
    return out.reshape(rows, -1)


def load(url: str, series: list[Series], times_s: np.ndarray) -> None:
    """Write all series at these times, an hour or less at once, in order of time."""
    pieces = np.split(times_s, np.flatnonzero(np.diff(times_s) > STEP_S) + 1)
    growth, start = (
        np.array([getattr(one, name) for one in series]) for name in Series._fields[1:]
    )
    for piece in pieces:
        for begin in range(0, len(piece), 60):
            chunk = piece[begin : begin + 60]
            encoded = samples(chunk, start[:, None] + growth[:, None] * (chunk - times_s[0]))
            for first in range(0, len(series), SERIES_PER_REQUEST):
                some = range(first, min(len(series), first + SERIES_PER_REQUEST))
                written = (series[n].labels + encoded[n].tobytes() for n in some)
                post(url, b"".join(wire.octets(1, one) for one in written))


@dataclass
class Server:
    url: str
    process: subprocess.Popen[bytes]
    folder: pathlib.Path

    def cpu_s(self) -> float:
        stat = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")

    def settle(self) -> None:
        """Wait until what was loaded is compacted: for a minute it takes more than all rules do."""
        for _ in range(120):
            before = self.cpu_s()
            time.sleep(5)
            calm = self.cpu_s() - before < 0.05 * 5
            if calm and self.head_s() <= HEAD_S_MAX:
                return
        sys.exit("Prometheus does not come to rest")

    def head_s(self) -> float:
        """Return how long a time its head block spans."""
        told = dict(
            line.split() for line in self.text("/metrics").splitlines() if not line.startswith("#")
        )
        first, last = (
            float(told[f"prometheus_tsdb_head_{name}_time_seconds"]) for name in ("min", "max")
        )
        return last - first

    def groups(self) -> list[tuple[str, float, float]]:
        """Return of each group of rules its name, its interval and its last evaluation, seconds."""
        found = json.loads(self.text("/api/v1/rules"))["data"]["groups"]
        return [(group["name"], group["interval"], group["evaluationTime"]) for group in found]

    def use(self, rules: dict | None) -> None:
        """Evaluate these rules from now on."""
        config: dict = {"global": {"evaluation_interval": "60s"}}
        if rules is not None:
            (self.folder / "rules.yml").write_text(to_yaml(rules, "benchmark"))
            config["rule_files"] = ["rules.yml"]
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        if self.process.poll() is None and rules is not None:
            self.process.send_signal(signal.SIGHUP)

    def count(self, expression: str, at_s: float | None = None) -> int:
        """Return how many series an expression has."""
        given = {"query": f"count({expression})", "timeout": "110s"}
        if at_s is not None:
            given["time"] = str(at_s)
        data = urllib.parse.urlencode(given).encode()
        with urllib.request.urlopen(self.url + "/api/v1/query", data, timeout=120) as answer:
            found = json.load(answer)["data"]["result"]
        return int(found[0]["value"][1]) if found else 0

    def text(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return answer.read().decode()


@contextmanager
def server(binary: str) -> Iterator[Server]:
    with socket.socket() as free, tempfile.TemporaryDirectory() as name:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        folder = pathlib.Path(name)
        running = Server(f"http://127.0.0.1:{port}", None, folder)  # type: ignore[arg-type]
        (folder / "prometheus.yml").write_text("global: {evaluation_interval: 60s}\n")
        with (folder / "log").open("wb") as log:
            running.process = subprocess.Popen(
                [
                    binary, "--config.file=prometheus.yml", "--storage.tsdb.path=data",
                    f"--web.listen-address=127.0.0.1:{port}", "--web.enable-remote-write-receiver",
                ],
                cwd=folder, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        try:
            for _ in range(300):
                try:
                    running.text("/-/ready")
                    break
                except OSError:
                    time.sleep(0.2)
            yield running
        finally:
            running.process.terminate()
            running.process.wait()


def cost_by_expression(running: Server, rules: dict) -> list[tuple[str, float, float]]:
    """Return for each rule its name, CPU seconds of one evaluation, and cores at its interval.

    Each expression is evaluated alone, where what the rules record is there already, so that a
    machine too busy to keep up changes nothing. Appending what is recorded is not in it.
    """
    running.use({"groups": [{**group, "interval": "20s"} for group in rules["groups"]]})
    for _ in range(600):
        time.sleep(1)
        at_s = time.time()
        if running.count("slo:burn_alert") == TOLD:
            break
    else:
        sys.exit(f"the rules do not tell of {TOLD} alerts")
    time.sleep(2)
    running.use({"groups": []})
    running.settle()
    found = []
    for group in rules["groups"]:
        interval_s = {"s": 1, "m": 60}[group["interval"][-1]] * int(group["interval"][:-1])
        for rule in group["rules"]:
            spent = []
            for _ in range(3):
                before = running.cpu_s()
                running.count(rule["expr"], at_s)
                spent.append(running.cpu_s() - before)
            name = rule.get("alert") or "{record} {labels}".format(**{"labels": "", **rule})
            found.append((name, min(spent), min(spent) / interval_s))
    return found


def cost(running: Server, rules: dict, minutes: float) -> tuple[float, float]:
    """Return cores used by rules, and the CPU seconds of reading the file."""
    running.settle()
    idle_from, began = running.cpu_s(), time.monotonic()
    time.sleep(20)
    idle = (running.cpu_s() - idle_from) / (time.monotonic() - began)
    before = running.cpu_s()
    running.use(rules)
    time.sleep(5)
    reload_s = running.cpu_s() - before
    time.sleep(max(0.0, 60.0 - 5))  # groups begin at different moments of their first interval
    used_from, began = running.cpu_s(), time.monotonic()
    time.sleep(minutes * 60)
    used = (running.cpu_s() - used_from) / (time.monotonic() - began)
    return used - idle, reload_s


def expect_fresh(running: Server, end_s: float) -> None:
    """See that the rules had series to read till the end: without any they would look cheap."""
    if time.time() >= end_s:
        sys.exit("this machine is too slow: the rules outlived their data, which makes them cheap")
    if (told := running.count("slo:burn_alert")) != TOLD:
        sys.exit(f"the rules tell of {told} alerts in the end, not of {TOLD}: their cost is void")


def peer_rules(paths: int) -> dict:
    """One specification per path: seven ratios, the period, seven facts, two alerts."""
    windows = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
    groups = []
    for number in range(paths):
        path = f"edge{number // 20:04d}:regional{number % 20:02d}/ef"
        s, f, own = f'{{path="{path}",slo="loss"}}', f'{{id="{path}"}}', {"id": path}
        bad, budget = f"slo_bad_events_total{s}", f"slo_budget_events_total{s}"
        ratios = [
            {
                "record": f"sli:ratio_rate{w}",
                "expr": f"sum(rate({bad}[{w}])) / sum(rate({budget}[{w}]))",
                "labels": {**own, "window": w},
            }
            for w in windows
        ]
        period = (
            f"sum_over_time(sli:ratio_rate5m{f}[28d]) / count_over_time(sli:ratio_rate5m{f}[28d])"
        )
        facts = {
            "period": period, "objective": "vector(0.999)", "budget": "vector(0.001)",
            "days": "vector(28)", "current": f"sli:ratio_rate5m{f}",
            "remaining": f"1 - slo:period{f}", "info": "vector(1)", "burn": f"slo:current{f}",
        }  # fmt: skip
        recorded = [
            {"record": f"slo:{name}", "expr": expr, "labels": own} for name, expr in facts.items()
        ]
        alerts = [
            {
                "alert": name,
                "expr": " or ".join(
                    f"(max(sli:ratio_rate{short}{f} > {b}) and max(sli:ratio_rate{long}{f} > {b}))"
                    for short, long, b in pairs
                ),
                "labels": own,
            }
            for name, pairs in (
                ("Page", (("5m", "1h", 13.44), ("30m", "6h", 5.6))),
                ("Ticket", (("2h", "1d", 2.8), ("6h", "3d", 0.93))),
            )
        ]
        rules = [*ratios, *recorded, *alerts]
        assert len(rules) == PEER_RULES, len(rules)
        groups += [
            {"name": f"sli-{number}", "rules": ratios},
            {"name": f"meta-{number}", "rules": recorded},
            {"name": f"alerts-{number}", "rules": alerts},
        ]
    return {"groups": groups}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--paths", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--peers", type=int, default=200, help="paths of the peers' layout")
    given = parser.parse_args()
    binary = shutil.which("prometheus")
    if binary is None:
        sys.exit("prometheus is not installed (Debian: prometheus)")
    pairs = given.paths * len(SLOS)
    ahead_s = int(given.minutes * 60) + 300
    with server(binary) as running:
        now_s = int(time.time()) // STEP_S * STEP_S
        until_s = LOADING_S + ahead_s
        moments = {
            t for w in WINDOWS_S for t in range(now_s - w - AROUND_S, now_s - w + until_s, STEP_S)
        } | set(range(now_s - FRESH_S - AROUND_S, now_s + until_s, FRESH_STEP_S))
        times_s = np.array(sorted(moments))
        series = all_labels(given.paths, SLOS) + others(given.paths, times_s[0])
        began = time.monotonic()
        load(running.url, series, times_s)
        count = len(series) * len(times_s) / 1e6
        print(f"{pairs:,} budgets: {count:.1f} M samples in {time.monotonic() - began:.0f} s")
        rules = rule_file([], Timing())
        number = sum(len(group["rules"]) for group in rules["groups"])
        assert number <= RULES_MAX
        running.settle()
        total = 0.0
        for name, spent_s, of_rule in cost_by_expression(running, rules):
            total += of_rule
            print(f"   {spent_s:7.2f} CPU-s  {of_rule:.3f} core  {name}")
        print(f"   all of them {total:.3f} core, without appending what is recorded")
        cores, reload_s = cost(running, rules, given.minutes)
        expect_fresh(running, times_s[-1])
        for name, interval_s, took_s in running.groups():
            print(f"   {took_s:7.2f} s of {interval_s:3} s, texts of alerts included  {name}")
        print(f"ours: {number} rules, {cores:.3f} core (reload {reload_s:.1f} CPU-s)")
    with server(binary) as running:
        series = all_labels(given.peers, ("loss",))
        now_s = int(time.time()) // 60 * 60
        times_s = np.arange(now_s - 259_200 - 600, now_s + ahead_s + 120, 60)
        load(running.url, [s for s in series if b"slo_events_total" not in s.labels], times_s)
        cores, reload_s = cost(running, peer_rules(given.peers), given.minutes)
        rules_count = PEER_RULES * given.peers
        factor = pairs / given.peers
        print(
            f"one specification per path: {rules_count:,} rules for {given.peers} budgets, "
            f"{cores:.3f} core (reload {reload_s:.1f} CPU-s); for {pairs:,} budgets "
            f"{PEER_RULES * pairs:,} rules, extrapolated {cores * factor:.1f} cores"
        )


if __name__ == "__main__":
    main()
