"""The probe of one or several sites: measures their paths and delivers what it counted."""

from __future__ import annotations

import asyncio
import logging
import pathlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar

from analytics.windows import SeriesKey
from netslo.errors import NetsloError
from netslo.model import Endpoint, Path
from probes.bandwidth.agenda import RegularTest
from probes.bandwidth.budget import Budget
from probes.bandwidth.rounds import Round, Rounds
from probes.bandwidth.state import StateDirectory
from probes.channel import Report
from probes.engines import MeasuringEngine
from probes.floor_report import reporting_noise_floor
from probes.flows import FlowSet
from probes.names import Addresses, Names
from probes.outbox import Outbox
from probes.plan import PathPlan
from probes.services.engine import ServiceEngine
from probes.services.plan import ServicePlan
from probes.trace.kept import KeptRoutes
from probes.trace.watch import RouteWatch, WatchPlan

TEST_END_S: Final = 5.0  # for a bandwidth test to end; what it holds runs out by itself

Plan = PathPlan | ServicePlan | RegularTest
T = TypeVar("T")

_log = logging.getLogger(__name__)

RESOLVE_WAIT_S: Final = 5.0  # before the start; names that take longer join later
LINGER_S: Final = 0.25  # windows end together: what closes in this time is one batch
DRAIN_S: Final = 5.0
LOOK_S: Final = 1.0  # how often targets that have fallen silent are looked for
FIGURES_S: Final = 10.0
SILENCE_S: Final = 10.0  # of engines that report every second


class ProbeAgent:
    """Measures paths that start at one of `sites`, until told otherwise.

    Engines measure in threads of their own; each site has its own instance id, batches and spool
    (`spool_dir/SITE`). A target whose name does not resolve is unmeasured until it does; one
    whose name leads elsewhere is followed.

    Args:
        sites: The sites this process stands at.
        plans: What to measure, between sites, of services and of bandwidth; each path starts at
            one of `sites`.
        collector_url: The collector's base URL, `http://HOST:PORT`.
        spool_dir: Where batches wait for the collector.
        notices: What this host cannot do for a measurement; part of its health.
    """

    def __init__(
        self,
        sites: Sequence[str],
        plans: Iterable[Plan],
        collector_url: str,
        spool_dir: pathlib.Path,
        *,
        notices: Sequence[str] = (),
    ) -> None:
        self._sites = tuple(sites)
        self._plans, self._services, self._tests = _apart(plans)
        self._loop: asyncio.AbstractEventLoop | None = None  # while it runs
        self._rounds = Rounds(self._note_round)
        self._collector_url = collector_url
        self._spool_dir = spool_dir
        self._notices = tuple(notices)
        self._outboxes: dict[str, Outbox] = {}
        self._arrived = asyncio.Event()  # windows to ship, or the end
        self._flows: FlowSet | None = None  # while it runs
        self._names = Names(self._follow)
        self._asking: ServiceEngine | None = None  # while it runs
        self._routes: RouteWatch | None = None  # while it runs
        self._heard_s = self._answered_s = time.monotonic()  # of an engine; of that of services

    @property
    def measuring(self) -> bool:
        """Whether the engines were heard of lately, as far as there is anything to measure."""
        now_s = time.monotonic()
        silent = self._plans and now_s - self._heard_s >= SILENCE_S
        unasked = self._services and now_s - self._answered_s >= SILENCE_S
        return self._flows is None or not (silent or unasked)

    def reload(self, plans: Iterable[Plan]) -> None:
        """Measure these paths instead, without a pause; in the thread of the loop.

        What is the same in both goes on untouched. What is not is retired, and its last window
        is delivered like every other; what is new joins.
        """
        self._plans, self._services, self._tests = _apart(plans)
        self._rounds.arrange(self._tests)
        if self._outboxes:
            self._follow_budgets()
        for outbox in self._outboxes.values():
            outbox.health.keep_certificates(plan.key.path.id for plan in self._services)
        if self._asking is not None:
            self._asking.arrange(self._services)
        if self._flows is not None:
            self._names.follow(plan.endpoint for plan in self._plans)
            self._flows.arrange(self._plans, self._names.addresses)
        if self._routes is not None:
            self._routes.arrange(_watched(self._plans), self._names.addresses)

    async def run(self, stop: asyncio.Event, *, on_ready: Callable[[], None] | None = None) -> None:
        """Measure until `stop` is set, then deliver what is left, for a few seconds at most.

        What the collector did not take stays in the spool for the next start.

        Raises:
            NetsloError: a spool cannot be used; nothing was started.
        """
        try:
            for site in self._sites:
                outbox = Outbox(site, self._collector_url, self._spool_dir / site)
                self._outboxes[site] = outbox
                outbox.health.set_notices(self._notices)
            self._follow_budgets()
            healths = [outbox.health for outbox in self._outboxes.values()]
            # Not the loop's own threads: an engine occupies one for ever.
            with ThreadPoolExecutor(4, thread_name_prefix="probe") as threads:
                async with reporting_noise_floor(healths), asyncio.TaskGroup() as tasks:
                    await self._work(tasks, threads, stop, on_ready)
            await asyncio.gather(*(x.deliverer.drain(DRAIN_S) for x in self._outboxes.values()))
        finally:
            closing = (asyncio.to_thread(outbox.close) for outbox in self._outboxes.values())
            await asyncio.gather(*closing)

    async def _work(
        self,
        tasks: asyncio.TaskGroup,
        threads: Executor,
        stop: asyncio.Event,
        on_ready: Callable[[], None] | None,
    ) -> None:
        """Measure, ship and deliver side by side; `ended` says that the last report is in."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        self._names.follow(plan.endpoint for plan in self._plans)
        await self._names.settle(RESOLVE_WAIT_S)
        self._names.follow(plan.endpoint for plan in self._plans)  # reloaded meanwhile, perhaps
        flows = FlowSet(lambda reports: _post(loop, self._take_in, reports))
        flows.arrange(self._plans, self._names.addresses)
        self._flows = flows
        asking = ServiceEngine(lambda reports: _post(loop, self._take_answers, reports))
        asking.arrange(self._services)
        self._asking = asking
        kept = {site: KeptRoutes(self._spool_dir / site) for site in self._sites}
        known = {key: each for one in kept.values() for key, each in one.load().items()}
        routes = RouteWatch(lambda site, report: self._outboxes[site].take_in_trace(report), known)
        routes.arrange(_watched(self._plans), self._names.addresses)
        self._routes = routes
        self._loop = loop
        self._rounds.arrange(self._tests)
        testing = self._begin_rounds(loop)
        tasks.create_task(self._ship(threads, ended, routes, kept))
        for outbox in self._outboxes.values():
            tasks.create_task(outbox.deliverer.run(ended))
        looking = tasks.create_task(self._look_on(flows))
        tracing = tasks.create_task(routes.run())
        engines: list[MeasuringEngine | ServiceEngine] = [*flows.engines, asking]
        measuring = [
            loop.run_in_executor(threads, partial(engine.run, until_stopped=True))
            for engine in engines
        ]
        try:
            if on_ready is not None:
                on_ready()
            stopping = tasks.create_task(stop.wait())
            either: list[asyncio.Future[Any]] = [*measuring, testing, stopping]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            looking.cancel()
            tracing.cancel()
            self._routes = None
            await self._names.close()
            self._flows = None
            self._asking = None
            flows.stop()
            asking.stop()
            self._rounds.stop()
            await asyncio.wait(measuring)
            await routes.close()
            await asyncio.wait([testing], timeout=TEST_END_S)
            ended.set()
            self._arrived.set()
        for engine in measuring:
            engine.result()
        if testing.done():
            testing.result()

    def _follow(self, endpoint: Endpoint, addresses: Addresses) -> None:
        if self._flows is not None:
            self._flows.redirect(endpoint, addresses)
        if self._routes is not None:
            self._routes.redirect(endpoint, addresses)

    async def _look_on(self, flows: FlowSet) -> None:
        """Have names asked again whose targets fell silent; keep the figures of flows."""
        loop = asyncio.get_running_loop()
        figures_s = loop.time() + FIGURES_S
        while True:
            await asyncio.sleep(LOOK_S)
            for endpoint in flows.doubtful():
                self._names.doubt(endpoint)
            if loop.time() >= figures_s:
                figures_s += FIGURES_S
                figures = list(flows.figures())
                for site, outbox in self._outboxes.items():
                    own = [each for each in figures if each.path.startswith(f"{site}:")]
                    outbox.health.set_flows(own)

    def _begin_rounds(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
        """Test bandwidth in a thread that no process waits for; return its end."""
        ended: asyncio.Future[None] = loop.create_future()

        def note(failure: BaseException | None) -> None:
            if failure is None:
                ended.set_result(None)
            else:
                ended.set_exception(failure)

        def run() -> None:
            try:
                self._rounds.run()
            except BaseException as error:  # noqa: BLE001 - it is raised again where it is awaited
                _post(loop, note, error)
            else:
                _post(loop, note, None)

        threading.Thread(target=run, name="bandwidth", daemon=True).start()
        return ended

    def _note_round(self, found: Round) -> None:
        if self._loop is not None:
            _post(self._loop, self._take_round, found)

    def _follow_budgets(self) -> None:
        for test in self._tests:
            read = partial(_budget_of, test.directory)
            self._outboxes[test.path.src].health.follow_budget(read)

    def _take_round(self, found: Round) -> None:
        outbox = self._outboxes[found.path.src]
        outbox.health.count_test(found.outcome)
        if found.readings:
            outbox.take_readings(found.readings)
            self._arrived.set()

    def _take_answers(self, reports: Mapping[str, Report]) -> None:
        self._answered_s = time.monotonic()
        self._gather(reports)

    def _take_in(self, reports: Mapping[str, Report]) -> None:
        self._heard_s = time.monotonic()
        self._gather(reports)

    def _gather(self, reports: Mapping[str, Report]) -> None:
        for site, report in reports.items():
            self._outboxes[site].take_in(report)
            if report.windows:
                self._arrived.set()

    async def _ship(
        self,
        threads: Executor,
        ended: asyncio.Event,
        routes: RouteWatch,
        kept: Mapping[str, KeptRoutes],
    ) -> None:
        """Spool what each site gathered as one batch, whenever there is something.

        Routes are kept for the next start behind that: a change that was not spooled will be told,
        and one may be told twice.
        """
        loop = asyncio.get_running_loop()
        ending = False
        while not ending:
            await self._arrived.wait()
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), LINGER_S)
            self._arrived.clear()
            ending = ended.is_set()  # then nothing arrives any more
            for site, outbox in self._outboxes.items():
                gathered = outbox.take_gathered()
                if self._routes is not None:
                    self._routes.look(gathered.windows)
                if gathered:
                    known = routes.known(site)  # now: what is seen from here on is not in the batch
                    await loop.run_in_executor(threads, outbox.put, gathered)
                    if known and (gathered.routes or ending):
                        save = partial(kept[site].save, known, ending=ending)
                        await loop.run_in_executor(threads, save)


def path_of(plan: Plan) -> Path:
    """Return the path that a plan is about."""
    return plan.path if isinstance(plan, RegularTest) else plan.key.path


def _apart(
    plans: Iterable[Plan],
) -> tuple[tuple[PathPlan, ...], tuple[ServicePlan, ...], tuple[RegularTest, ...]]:
    """Part the plans of paths between sites from those of services and of bandwidth."""
    every = tuple(plans)
    return (
        tuple(plan for plan in every if isinstance(plan, PathPlan)),
        tuple(plan for plan in every if isinstance(plan, ServicePlan)),
        tuple(plan for plan in every if isinstance(plan, RegularTest)),
    )


def _watched(plans: Iterable[PathPlan]) -> dict[SeriesKey, tuple[WatchPlan, Endpoint]]:
    """Return the paths whose routes are to be watched."""
    return {plan.key: (plan.watch, plan.endpoint) for plan in plans if plan.watch is not None}


def _budget_of(directory: pathlib.Path) -> tuple[int, int] | None:
    """Return the limit of a site's budget and what is used of it today; None: not known."""
    try:
        budget = Budget(StateDirectory(directory))
        return budget.limit, budget.today().spent
    except NetsloError:
        return None


def _post(loop: asyncio.AbstractEventLoop, take_in: Callable[[T], None], what: T) -> None:
    """Hand something to the loop's thread; a loop that has been closed wants nothing."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(take_in, what)
