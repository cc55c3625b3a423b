"""One history judged four times: step by step by the engine of a real collector, and by its rules.

The collector's own /metrics of each step become the series of a `promtool test rules` file, so
that Prometheus' own rule engine goes over the same counters with a clock that stands still
between steps.
"""

from __future__ import annotations

import asyncio
import functools
import json
import pathlib
import re
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

from a_collector import Room, collector, make_estate
from prometheus_client.parser import text_string_to_metric_families
from real_prometheus import run

from analytics.collector.exposition import PathCollector
from analytics.readings import Reading
from analytics.store.sqlite import SqliteStore
from analytics.windows import Batch, PacketCounts, PathWindow, SeriesKey, SloCounts
from netslo import metrics
from netslo.model import NS_PER_S, Path, Window
from slo.backtest.backtest import Question
from slo.backtest.backtest import run as run_backtest
from slo.engine.engine import AlertEngine
from slo.exclusion import Exclusion
from slo.exposition import SloCollector
from slo.judge import Judge
from slo.objective import Objective
from slo.rules.exposition import ThresholdCollector
from slo.rules.layout import span_of
from slo.rules.rules import rule_file
from slo.rules.yaml_text import to_yaml
from slo.slice_totals import SliceTotals
from slo.standings import Standings
from slo.totals import PersistentTotals

T0 = 1_800_000_000  # a multiple of 300, and promtool's 0
PER_WINDOW = 50  # packets, at the 0.2 s of `make_estate`
ESTATE = make_estate()
PATHS = tuple(path for path in ESTATE.paths if path.traffic_class == "ef")

_NAMES = {
    metrics.PROM_SLO_EVENTS,
    metrics.PROM_SLO_BAD_EVENTS,
    metrics.PROM_SLO_BUDGET_EVENTS,
    metrics.PROM_SLO_UNMEASURED_EVENTS,
    metrics.PROM_SLO_BURN_THRESHOLD,
    metrics.PROM_SLO_BAD_EVENTS_MIN,
    metrics.PROM_SLO_BUDGET_EVENTS_MIN,
    metrics.PROM_SLO_SITE_PEERS,
    metrics.PROM_SLO_EXCLUDED,
    metrics.PROM_PROBE_LAST_WINDOW,
    metrics.PROM_PROBE_LATE_ARRIVAL,
    metrics.PROM_COLLECTOR_LAST_COMMIT,
}
_IN_UNIX_TIME = {
    metrics.PROM_PROBE_LAST_WINDOW,
    metrics.PROM_PROBE_LATE_ARRIVAL,
    metrics.PROM_COLLECTOR_LAST_COMMIT,
}
_FIRING = 'ALERTS{alertstate="firing"}'
_SHORT = (
    'label_replace(ALERTS{alertname=~"SLOBurn(Page|Ticket)"}, "window", "$1", "pair", ".*/(.*)")'
)
_HELD = f"{_SHORT} unless on (path, slo, window) slo:burn_known"

Labels = frozenset[tuple[str, str]]
Series = dict[Labels, list[bool]]  # by alert: whether it is so, at each step


@dataclass(frozen=True, slots=True)
class Counted:
    """What became of the packets of one window."""

    bad: int = 0
    unmeasured: int = 0


@dataclass(frozen=True)
class History:
    """What happens, in seconds since the beginning.

    `happens` says what a window is like; `reaches` when it comes to the collector, None never.
    """

    objective: Objective
    length_s: int
    happens: Callable[[Path, int], Counted]
    reaches: Callable[[Path, int], int | None] = lambda _path, at_s: at_s + 10
    step_s: int = 30
    exclusions: Sequence[Exclusion] = ()
    restarts_s: Sequence[int] = ()
    targets: Sequence[tuple[int, str]] = ()  # from when on another target holds
    tested: Callable[[Path, int], float | None] = lambda _path, _at_s: None  # bit/s, forward


@dataclass
class Judged:
    """What both modes said at each step: what fires, and which of that is only held."""

    engine: Series = field(default_factory=dict)
    engine_holds: Series = field(default_factory=dict)
    rules: Series = field(default_factory=dict)
    rules_hold: Series = field(default_factory=dict)
    status: Series = field(default_factory=dict)  # by pair and path, of /api/v1/slos
    backtest: Series = field(default_factory=dict)  # the same, of the store in the end
    steps: int = 0
    marks: list[int] = field(default_factory=list)  # the steps at which the backtest looks

    @property
    def engine_fresh(self) -> Series:
        """What fires in the engine by pair and path, and is not only held."""
        found: Series = {}
        for key, line in self.engine.items():
            labels = dict(key)
            if "pair" in labels and "path" in labels:
                held = self.engine_holds.get(key, [False] * self.steps)
                fresh = [fires and not only for fires, only in zip(line, held, strict=True)]
                found[_pair_key(labels["severity"], labels["path"], labels["pair"])] = fresh
        return found

    def fired(self, series: Series, **labels: str) -> list[int]:
        """Return the steps at which something with these labels fires."""
        wanted = {(name.rstrip("_"), value) for name, value in labels.items()}
        hits = [line for key, line in series.items() if wanted <= key]
        return [step for step in range(self.steps) if any(line[step] for line in hits)]


async def judge(history: History, folder: pathlib.Path) -> Judged:
    """Let a history happen, and both modes look at it."""
    steps = history.length_s // history.step_s + 1
    found = Judged(steps=steps)
    scraped: dict[tuple[str, Labels], list[float | None]] = {}
    for step in _Steps(history, folder, steps):
        async with AsyncExitStack() as stack:
            # Steps follow each other faster than an answer is kept for.
            stack.enter_context(patch("analytics.collector.scrape.CACHE_S", -1.0))
            # Delays are no matter of alerts, and most of what a scrape costs.
            stack.enter_context(patch.object(PathCollector, "collect", lambda _: ()))
            await step.enter(stack)
            while step.number < step.until:
                await step.deliver()
                step.engine.look()
                _note_engine(found, step.engine, step.number)
                _note_status(found, step.judge, step.number)
                _note_scrape(scraped, await step.room.text("/metrics"), step.number, steps)
                step.number += 1
    _ask_rules(found, history, scraped, folder)
    _ask_backtest(found, history, folder)
    return found


class _Steps:
    """The lives of the collector, each until it is restarted or its target changes."""

    def __init__(self, history: History, folder: pathlib.Path, steps: int) -> None:
        ends_s = sorted({*history.restarts_s, *(at_s for at_s, _ in history.targets)})
        self._history = history
        self._folder = folder
        self._ends = [*(-(-at_s // history.step_s) for at_s in ends_s), steps]
        due = {}
        for path in PATHS:
            for at_s in range(0, history.length_s, 10):
                reached_s = history.reaches(path, at_s)
                if reached_s is not None:
                    step = -(-reached_s // history.step_s)
                    due.setdefault(step, []).append((path, at_s))
        self._due = due
        self.number = 0
        self.until = 0

    def __iter__(self):
        for until in self._ends:
            self.until = until
            yield self

    @property
    def now_s(self) -> float:
        return float(T0 + self.number * self._history.step_s)

    async def enter(self, stack: AsyncExitStack) -> None:
        """Start a collector over the store of the one before."""
        at_s = self.number * self._history.step_s
        objective = self._history.objective
        for since_s, target in self._history.targets:
            if since_s <= at_s:
                objective = replace(objective, target_text=target)
        self._objective = objective
        clock = lambda: self.now_s  # noqa: E731
        off = tuple(self._history.exclusions)
        companions: list[Any] = []
        collectors: list[Any] = []

        def furnish(store: SqliteStore) -> SqliteStore:
            store.declare_objectives({objective.name: objective.target_text}, self.now_s)
            targets = store.targets()
            standings = Standings(store, [objective], ESTATE, off, clock)
            file = self._folder / "alerts.json"
            self.engine = AlertEngine(
                standings,
                [objective],
                ESTATE,
                file=file,
                exclusions=lambda: off,
                targets=targets,
                clock=clock,
            )
            companions.extend([standings, self.engine])
            totals = PersistentTotals(store, self._folder / "excluded.json", off, clock)
            slices = SliceTotals(store, [objective], self._folder / "slices.json", off, clock)
            self.judge = Judge(standings, [objective], ESTATE, clock, targets=targets)
            collectors.append(SloCollector(self.judge, lambda: slices.over(totals.read())))
            collectors.append(
                ThresholdCollector([objective], ESTATE, lambda: off, clock, targets=targets)
            )
            return store

        self.room: Room = await stack.enter_async_context(
            collector(
                self._folder / "store.sqlite",
                wrap=furnish,
                companions=companions,
                collectors=collectors,
                clock=clock,
            )
        )

    async def deliver(self) -> None:
        """Bring all that reaches the collector at this step."""
        by_site: dict[str, list[PathWindow]] = {}
        readings: dict[str, list[Reading]] = {}
        for path, at_s in self._due.get(self.number, ()):
            counted = self._history.happens(path, at_s)
            by_site.setdefault(path.src, []).append(_window(path, at_s, counted, self._objective))
            rate = self._history.tested(path, at_s)
            if rate is not None:
                reading = Reading(
                    path, (T0 + at_s) * NS_PER_S, metrics.BANDWIDTH, "forward", "train", rate
                )
                readings.setdefault(path.src, []).append(reading)
        batches = [
            Batch(site, site, self.number, tuple(w), readings=tuple(readings.get(site, ())))
            for site, w in by_site.items()
        ]
        for sent in await asyncio.gather(*(self.room.send(batch) for batch in batches)):
            assert sent.refused_points == 0


def _window(path: Path, at_s: int, counted: Counted, objective: Objective) -> PathWindow:
    measured = PER_WINDOW - counted.unmeasured
    packets = PacketCounts(measured - counted.bad, counted.bad, counted.unmeasured)
    counts = SloCounts(measured - counted.bad, counted.bad, counted.unmeasured)
    return PathWindow(SeriesKey(path), Window(T0 + at_s), packets, slo={objective.name: counts})


def _note_engine(found: Judged, engine: AlertEngine, step: int) -> None:
    for alert in engine.to_json()["alerts"]:
        key = _key(alert["labels"])
        found.engine.setdefault(key, [False] * found.steps)[step] = True
        held = alert["unknown_since"] is not None
        if held and "pair" in alert["labels"]:
            found.engine_holds.setdefault(key, [False] * found.steps)[step] = True


def _pair_key(severity: str, path: str, pair: str) -> Labels:
    return frozenset({("severity", severity), ("path", path), ("pair", pair)})


def _note_status(found: Judged, judge: Judge, step: int) -> None:
    for status in judge.judge()[1]:
        for pair in status.firing:
            key = _pair_key(pair.severity.value, status.path.id, span_of(pair).id)
            found.status.setdefault(key, [False] * found.steps)[step] = True


def _ask_backtest(found: Judged, history: History, folder: pathlib.Path) -> None:
    """Judge the whole store again, as far as it has whole five minutes."""
    objective, end_s = history.objective, T0 + history.length_s // 300 * 300
    with closing(SqliteStore.open(folder / "store.sqlite", readonly=True)) as store:
        eras = store.targets()[objective.name]
        off = history.exclusions
        asked = Question(objective, None, ESTATE, PATHS, T0, end_s, eras, off)
        episodes = run_backtest(store, asked).now.episodes
    found.marks = [
        step
        for step in range(found.steps)
        if step * history.step_s % 300 == 0 and T0 + step * history.step_s < end_s
    ]
    for episode in episodes:
        pair, (_, path) = episode.pair, episode.key
        key = _pair_key(pair.severity.value, path.id, span_of(pair).id)
        line = found.backtest.setdefault(key, [False] * found.steps)
        for step in range(found.steps):
            at_s = T0 + step * history.step_s
            over_s = end_s if episode.end_s is None else episode.end_s
            line[step] |= episode.start_s <= at_s < over_s


def _key(labels: dict[str, str]) -> Labels:
    ours = {"__name__", "alertstate", "window", "job", "instance"}
    return frozenset((name, value) for name, value in labels.items() if name not in ours)


def _note_scrape(
    scraped: dict[tuple[str, Labels], list[float | None]], text: str, step: int, steps: int
) -> None:
    for line in text.splitlines():
        if re.split("[{ ]", line, maxsplit=1)[0] in _NAMES:
            series, _, said = line.rpartition(" ")
            key = _series_of(series)
            value = float(said) - T0 if key[0] in _IN_UNIX_TIME else float(said)
            scraped.setdefault(key, [None] * steps)[step] = value


@functools.cache  # each step has the same ones, and the parser takes its time over labels
def _series_of(text: str) -> tuple[str, Labels]:
    """Return name and labels of a series as prometheus_client reads them."""
    (family,) = text_string_to_metric_families(f"{text} 0\n")
    (sample,) = family.samples
    assert sample.timestamp is None
    return sample.name, frozenset(sample.labels.items())


def _ask_rules(
    found: Judged,
    history: History,
    scraped: dict[tuple[str, Labels], list[float | None]],
    folder: pathlib.Path,
) -> None:
    """Have promtool evaluate the rules over what was scraped, and say what it found."""
    rules = rule_file([history.objective])
    (folder / "rules.yml").write_text(to_yaml(rules, "test"))
    # The page of the first group tells of what the second records.
    groups = sorted((g["name"] for g in rules["groups"]), key=lambda name: name == "netslo-fast")
    step = f"{history.step_s}s"
    case = {
        "interval": step,
        "input_series": [
            {
                "series": f"{name}{{{_matchers(labels)}}}",
                "values": " ".join("_" if value is None else repr(value) for value in values),
            }
            for (name, labels), values in scraped.items()
        ],
        "promql_expr_test": [
            {"expr": expr, "eval_time": f"{number * history.step_s}s", "exp_samples": []}
            for number in range(found.steps)
            for expr in (_FIRING, _HELD)
        ],
    }
    file = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": step,
        "group_eval_order": groups,
        "tests": [case],
    }
    (folder / "case.yml").write_text(json.dumps(file))
    done = run("promtool", "test", "rules", folder / "case.yml")
    (folder / "promtool.out").write_text(done.stdout + done.stderr)
    _read_rules(found, done.stdout + done.stderr, history.step_s)


def _matchers(labels: Labels) -> str:
    return ",".join(f"{name}={json.dumps(value)}" for name, value in sorted(labels))


_FAILED = re.compile(
    r'expr: "(?P<expr>.*)", time: (?P<time>\S+),\s*\n\s*exp:.*\n\s*got:\s*(?P<got>.*)'
)
_SAMPLE = re.compile(r"\{((?:[^{}\"]|\"(?:[^\"\\]|\\.)*\")*)\} 1E\+00")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def _read_rules(found: Judged, said: str, step_s: int) -> None:
    failures = list(_FAILED.finditer(said))
    assert failures, f"promtool says nothing of alerts: {said[:3000]}"
    for failure in failures:
        step = _seconds(failure["time"]) // step_s
        holds = failure["expr"].startswith("label_replace")
        into = found.rules_hold if holds else found.rules
        got = failure["got"].replace('\\"', '"')
        for sample in _SAMPLE.finditer(got):
            labels = dict(_LABEL.findall(sample[1]))
            into.setdefault(_key(labels), [False] * found.steps)[step] = True


def _seconds(text: str) -> int:
    parts = re.findall(r"(\d+)([dhms])", text)
    return sum(
        int(number) * {"d": 86400, "h": 3600, "m": 60, "s": 1}[unit] for number, unit in parts
    )


def disagreements(one: Series, other: Series, steps: int = 1) -> list[str]:
    """Return what one says that the other does not say within so many steps."""
    found = []
    for key, line in one.items():
        beside = other.get(key, [False] * len(line))
        for step, fires in enumerate(line):
            low, high = max(0, step - steps), min(len(line), step + steps + 1)
            if fires not in beside[low:high] and high < len(line):
                name = " ".join(value for _, value in sorted(key))
                found.append(f"step {step}: {name} is {fires}")
    return found
