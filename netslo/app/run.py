"""One run on one host: its parts started in order, watched, and ended in order."""

from __future__ import annotations

import pathlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from netslo.app.children import Child, stop_all
from netslo.app.lab.network import NEAR
from netslo.app.lab.real_link import SUBFOLDER, RealLink, carried_path, traced, with_its_capacity
from netslo.app.parts.collector import collector_part
from netslo.app.parts.emulator import emulator_part
from netslo.app.parts.lab import Refusal, Task, lab_part
from netslo.app.parts.probes import plan_estate, probes_part
from netslo.app.parts.program import program_part
from netslo.app.parts.reflectors import reflectors_part, stations_part, test_stations_of
from netslo.config.options import SPOOL_DIR, STATE_DIR, STORE_FILE
from netslo.errors import NetsloError
from netslo.estate import Estate
from netslo.model import Endpoint, Path
from probes.agent import Plan, path_of
from probes.bandwidth.state import state_directories
from probes.reflectors import Station
from slo.objective import Objective
from slo.spec import thresholds_by_path


@dataclass(slots=True)
class Run:
    """The parts of one run. As a context manager it leaves no process behind."""

    estate: Estate
    objectives: Sequence[Objective]
    data_dir: pathlib.Path
    children: list[Child] = field(default_factory=list)

    @property
    def store_file(self) -> pathlib.Path:
        return self.data_dir / STORE_FILE

    def states(self, sites: Sequence[str]) -> dict[str, pathlib.Path]:
        """Return the state directory of each site."""
        return state_directories(sites, self.data_dir / STATE_DIR)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        stop_all(self.children)

    def start_collector(self, listen: Endpoint) -> Endpoint:
        """Start the collector; return the address it listens on."""
        bound: Endpoint = self._start(
            Child(
                "collector",
                collector_part,
                self.estate,
                self.objectives,
                self.store_file,
                listen,
            )
        )
        return bound

    def start_reflectors(self, listen: Mapping[str, Endpoint]) -> dict[str, Endpoint]:
        """Start a reflector for each site; return the address of each."""
        bound: dict[str, Endpoint] = self._start(Child("reflectors", reflectors_part, dict(listen)))
        return bound

    def reconfigure(
        self,
        estate: Estate,
        objectives: Sequence[Objective],
        stations: Sequence[Station],
        sites: Sequence[str],
        listen: Endpoint,
    ) -> None:
        """Let the parts go on by another configuration: probes and reflectors without a pause.

        The collector, if it has to know, begins anew at its address; meanwhile probes spool.

        Raises:
            NetsloError: a part refuses, and goes on as before.
        """
        thresholds = thresholds_by_path(objectives, estate)
        plans = plan_estate(estate, sites, thresholds, {}, self.states(sites))
        tests = test_stations_of(estate, self.states(sites))
        refusal = self._part("reflectors").request(("reload", tuple(stations), tests))
        if refusal is not None:
            raise NetsloError(refusal)
        if (estate, tuple(objectives)) != (self.estate, tuple(self.objectives)):
            self.estate, self.objectives = estate, objectives
            collector = self._part("collector")
            collector.stop()
            self.children.remove(collector)
            self.start_collector(listen)
            self.children.insert(0, self.children.pop())  # it ends last
        self._part("probes").request(("reload", plans))

    def _part(self, name: str) -> Child:
        return next(child for child in self.children if child.name == name)

    def start_stations(self, stations: Sequence[Station], sites: Sequence[str] = ()) -> Child:
        """Start reflectors at an estate's own addresses, and the bandwidth servers of sites."""
        tests = test_stations_of(self.estate, self.states(sites))
        child = Child("reflectors", stations_part, tuple(stations), tests)
        self._start(child)
        return child

    def start_emulator(
        self, targets: Mapping[str, Endpoint], seed: int | None
    ) -> tuple[Child, dict[Path, Endpoint]]:
        """Start the WAN emulator; return it, and where each path enters it."""
        child = Child("WAN emulator", emulator_part, self.estate, dict(targets), seed)
        ports: dict[Path, Endpoint] = self._start(child)
        return child, ports

    def start_real_link(self) -> RealLink | Refusal:
        """Start the real link, or say why there can be none; others follow, it knows no estate."""
        child = Child("real link", lab_part, parental=True)
        answer: Endpoint | Refusal = self._start(child)
        if isinstance(answer, Refusal):
            self.children.remove(child)
            child.stop()
            return answer
        self.estate = with_its_capacity(self.estate)
        return RealLink(carried_path(self.estate), child, answer)

    def prepare_real_link(self, link: RealLink, collector: Endpoint) -> Task:
        """Make ready to measure the real link's path from inside it; return what `measure` wants.

        Its leases are its own: what is tested there loads no other path of its sites.
        """
        src = link.path.src
        states = self.data_dir / STATE_DIR / SUBFOLDER
        estate = traced(self.estate)
        thresholds = thresholds_by_path(self.objectives, estate)
        plans = plan_estate(estate, (src,), thresholds, {link.path: link.far}, {src: states / NEAR})
        own = tuple(plan for plan in plans if path_of(plan) == link.path)
        spool = self.data_dir / SPOOL_DIR / SUBFOLDER
        task = Task(link.path, own, collector, spool, states)
        link.prepare(task)
        return task

    def start_program(self, name: str, arguments: Sequence[str], log_file: pathlib.Path) -> Child:
        """Start somebody else's program, which ends with the run."""
        child = Child(name, program_part, tuple(arguments), log_file)
        self._start(child)
        return child

    def start_probes(
        self,
        sites: Sequence[str],
        endpoints: Mapping[Path, Endpoint],
        collector: Endpoint,
        without: Collection[Path] = (),
    ) -> Child:
        """Start probing from `sites`; return the process, which is ended before the others.

        `without`: paths that somebody else measures.
        """
        child = Child(
            "probes",
            probes_part,
            tuple(p for p in self.plan(sites, endpoints) if path_of(p) not in without),
            tuple(sites),
            f"http://{collector}",
            self.data_dir / SPOOL_DIR,
        )
        self._start(child)
        return child

    def plan(self, sites: Sequence[str], endpoints: Mapping[Path, Endpoint]) -> tuple[Plan, ...]:
        """Plan every path from `sites`, at the far sites' own addresses or at `endpoints`."""
        thresholds = thresholds_by_path(self.objectives, self.estate)
        return plan_estate(self.estate, sites, thresholds, endpoints, self.states(sites))

    def check(self) -> None:
        """See that every part still works.

        Raises:
            NetsloError: one has ended.
        """
        for child in self.children:
            if not child.alive:
                raise NetsloError(f"{child.name} ended unexpectedly; the run cannot go on")

    def _start(self, child: Child) -> Any:
        self.children.append(child.start())
        return child.wait_ready()
