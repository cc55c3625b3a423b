"""The demo: a run over the emulated UK estate, with an incident and a reckoning."""

from __future__ import annotations

import json
import pathlib
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from importlib import resources
from typing import Any, Final, Protocol

from rich.console import Console

from analytics.store.sqlite import SqliteStore
from netslo.app.children import Child
from netslo.app.commands.options import make_directory
from netslo.app.floors import ProbeFloors
from netslo.app.incident import Incident, plan_incident
from netslo.app.lab.findings import read_findings, spoilt_windows
from netslo.app.lab.real_link import RealLink, plan_capacity_tests, untraced
from netslo.app.lab.report import change_line, lab_state, no_lab_state
from netslo.app.pages import Pages
from netslo.app.parts.lab import Refusal
from netslo.app.prometheus import find_programs, start_pair
from netslo.app.report import final_state, summary
from netslo.app.run import Run
from netslo.app.screen import Screen
from netslo.app.watch import Watch
from netslo.app.webhook import Webhook
from netslo.config.estate_file import load_estate
from netslo.errors import ConfigurationError
from netslo.model import WINDOW_S, Endpoint, Path
from netslo.signals import sigterm_interrupts
from probes.emulator.log import Truth
from slo.policy import accelerated
from slo.spec import load_objectives

_LOOPBACK: Final = "127.0.0.1"
_TICK_S: Final = 1.0
_REFRESH_TICKS: Final = 5
FASTER: Final = 60  # how much faster alerts' windows go by: an hour is a minute
TITLE: Final = "netslo demo · nine UK sites over an emulated WAN"


def run_demo(
    duration_s: float,
    json_file: pathlib.Path | None,
    data_dir: pathlib.Path | None,
    seed: int | None,
    *,
    with_prometheus: bool = False,
) -> None:
    """Run the demo and print its summary.

    `with_prometheus`: with Prometheus and Alertmanager, whose page is printed, too.

    Raises:
        NetsloError: a part could not start or ended unexpectedly.
    """
    if json_file is not None:
        _check_writable(json_file)
    programs = find_programs() if with_prometheus else None
    with resources.as_file(resources.files("netslo.app") / "uk") as directory:
        estate = untraced(load_estate(directory))
        objectives = tuple(
            replace(o, alerts=accelerated(o.alerts, FASTER))
            for o in load_objectives(directory, estate)
        )
    console = Console()
    with (
        sigterm_interrupts(),
        _data_directory(data_dir) as directory,
        ExitStack() as stack,
        Run(estate, objectives, directory) as run,
    ):
        console.print(
            "Starting collector, reflectors, WAN emulator, real link and probes …", style="dim"
        )
        found = run.start_real_link()
        real_link = found if isinstance(found, RealLink) else None
        collector = run.start_collector(Endpoint(_LOOPBACK, 0))
        console.print(f"Page at http://{collector}/")
        pages = Pages(collector)
        sources: list[Source] = [pages]
        reflectors = run.start_reflectors({site: Endpoint(_LOOPBACK, 0) for site in estate.sites})
        emulator, entrances = run.start_emulator(reflectors, seed)
        task = None if real_link is None else run.prepare_real_link(real_link, collector)
        started_s = time.time()
        if real_link is not None and task is not None:
            real_link.measure(task)
        without = () if real_link is None else (real_link.path,)
        probes = run.start_probes(tuple(estate.sites), entrances, collector, without)
        hook = None
        if programs is not None:  # not before probes deliver: kernels may take a minute
            hook = stack.enter_context(Webhook())
            sources.append(hook)
            pair = start_pair(run, programs, objectives, collector, hook.url, FASTER)
            console.print(
                f"Prometheus at http://{pair.prometheus}, "
                f"Alertmanager at http://{pair.alertmanager}",
                style="dim",
            )
        with closing(SqliteStore.open(run.store_file, readonly=True)) as store:
            incident = plan_incident(estate, started_s, duration_s)
            show = Show(
                run,
                Watch(store, run.estate, objectives, started_s, read_floors=ProbeFloors(collector)),
                Screen(console, f"{TITLE} · http://{collector}"),
                emulator,
                real_link,
                incident,
                sources,
                started_s + duration_s,
                plan_capacity_tests(incident, started_s),
            )
            show.play()
            console.print("Waiting for the last answers …", style="dim")
            state = show.reckon(probes)
            if isinstance(found, Refusal):
                state["lab"] = no_lab_state(found.reason)
            state["alerts"] = pages.told
            if hook is not None:
                state["notices"] = hook.told
    console.print(summary(state))
    if json_file is not None:
        json_file.write_text(json.dumps(state, indent=1) + "\n")
        console.print(f"Final state written to {json_file}", style="dim")


class Source(Protocol):
    """Who has something for the log now and then."""

    def news(self) -> Iterator[str]:
        """Yield lines since the last call."""


@dataclass(slots=True)
class Show:
    """The part of the demo that plays before the audience: watch, break, mend."""

    run: Run
    watch: Watch
    screen: Screen
    emulator: Child
    real_link: RealLink | None
    incident: Incident
    sources: Sequence[Source]
    ends_s: float
    tests_due_s: list[float]  # of the real link's capacity, Unix seconds
    log: list[str] = field(default_factory=list)

    def play(self) -> None:
        """Show until the time is over, or Ctrl-C."""
        with self.screen:
            try:
                ticks = 0
                while (now_s := time.time()) < self.ends_s:
                    if ticks % _REFRESH_TICKS == 0:
                        self.watch.refresh(now_s)
                        self._observe(now_s)
                    self._script(now_s)
                    self.screen.draw(self.watch, now_s, self.ends_s, self.log)
                    self.run.check()
                    ticks += 1
                    time.sleep(max(0.0, _TICK_S - (time.time() - now_s)))
            except KeyboardInterrupt:
                self.say(time.time(), "Ended early")

    def reckon(self, probes: Child) -> dict[str, Any]:
        """Let what is under way arrive, and return what was measured beside what was true."""
        link, watch = self.real_link, self.watch
        if link is not None:
            link.end()
        probes.stop()
        ended_s = time.time()
        truth: dict[Path, Truth] = self.emulator.request(("truth",))
        if link is not None:
            link.wait()
            spoilt = spoilt_windows(watch.store, link.path, watch.started_s)
            truth[link.path] = link.truth(spoilt)
        watch.refresh(ended_s + WINDOW_S)  # ranges end at a boundary: take in the last
        state = final_state(watch, self.incident, truth, ended_s)
        if link is not None:
            found = read_findings(watch.store, link.path, watch.started_s)
            state["lab"] = lab_state(link, found)
        return state

    def say(self, now_s: float, line: str) -> None:
        """Put a line in the log under the table."""
        self.log.append(f"{time.strftime('%H:%M:%S', time.localtime(now_s))}  {line}")

    def _script(self, now_s: float) -> None:
        if self.real_link is not None and self.tests_due_s and now_s >= self.tests_due_s[0]:
            self.tests_due_s.pop(0)
            self.real_link.test()
            self.say(now_s, f"Testing the capacity under {self.real_link.path} …")
        change = self.incident.due_change(now_s)
        if change is False:
            return
        self.emulator.request(("degrade", self.incident.path, change))
        what = "INCIDENT begins: +60 ms each way, 2 % loss" if change else "Incident over"
        self.say(now_s, f"{what} on {self.incident.path}")
        if self.real_link is None:
            return
        if change:
            self.real_link.break_primary(now_s)
            self.say(now_s, f"... and the better branch under {self.real_link.path} fails")
        else:
            self.real_link.mend_primary(now_s)
            self.say(now_s, f"The better branch under {self.real_link.path} works again")

    def _observe(self, now_s: float) -> None:
        if self.incident.observe(self.watch.statuses, now_s):
            after_s = now_s - self.incident.starts_s
            self.say(now_s, f"{self.incident.path} burns its budget: seen after {after_s:.0f} s")
        if self.real_link is not None and self.real_link.change is None:
            self._look_for_change(self.real_link, now_s)
        for source in self.sources:
            for line in source.news():
                self.say(now_s, line)

    def _look_for_change(self, link: RealLink, now_s: float) -> None:
        """Say once that the failed branch was seen to be left."""
        if link.failed_s is not None:
            found = read_findings(self.watch.store, link.path, link.failed_s)
            link.change = found.first_change(link.failed_s, link.mended_s)
            if link.change is not None:
                self.say(now_s, change_line(link.change, link.failed_s))


def _check_writable(file: pathlib.Path) -> None:
    """Find out before the demo, rather than behind it, that its result cannot be written."""
    try:
        with file.open("a"):
            pass
    except OSError as error:
        raise ConfigurationError(f"--json {file}: cannot be written: {error.strerror}") from error


@contextmanager
def _data_directory(directory: pathlib.Path | None) -> Iterator[pathlib.Path]:
    """Yield the folder for the run's data: the user's, or one that goes with the demo."""
    if directory is not None:
        yield make_directory(directory, "data")
        return
    temporary = pathlib.Path(tempfile.mkdtemp(prefix="netslo-demo-"))
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
