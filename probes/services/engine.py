"""One thread that asks services: each request at its due time, whatever became of others."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics.windows import PacketCounts, SeriesKey
from netslo.model import NS_PER_S
from netslo.service import wants_trust
from probes.channel import Report
from probes.instant import read_clocks
from probes.ledger import Packet
from probes.services.connection import Connector
from probes.services.exchange import Exchange, Stopwatch
from probes.services.lookup import Resolver
from probes.services.plan import ServicePlan
from probes.services.session import ServiceSession
from probes.services.tls import new_context
from probes.services.transactions import Transaction

UNDER_WAY_MAX: Final = 2000  # requests at once; what is due beyond is unmeasured
TICK_S: Final = 0.25  # how often windows are closed
REPORT_S: Final = 1.0
TOO_MANY: Final = "not sent: too many requests under way"


@dataclass(slots=True)
class Asking:
    """One path to a service, under way."""

    session: ServiceSession
    on_exchange: Callable[[Exchange], None] | None = None
    retired: bool = False
    task: asyncio.Task[None] | None = None
    exchanges: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def totals(self) -> PacketCounts:
        """The requests settled so far."""
        return self.session.totals

    def recent_rtt_s(self) -> NDArray[np.float64]:
        """Return what the last good exchanges took, seconds."""
        return np.array(self.session.recent_rtt_s.copy())


class ServiceEngine:
    """Runs exchanges until each path has finished, or until `stop`.

    Each request is a task of its own on one event loop, so that one which hangs delays nobody.
    `on_report` is called with the reports by source site, in the thread of `run`, about once a
    second and whenever windows were closed. `arrange`, `measure` and `stop` may be called from
    any thread.
    """

    def __init__(self, on_report: Callable[[dict[str, Report]], None]) -> None:
        self._on_report = on_report
        self._reports: dict[str, Report] = {}
        self._asking: list[Asking] = []
        self._by_key: dict[SeriesKey, Asking] = {}
        self._contexts: dict[str | None, ssl.SSLContext] = {}
        self._under_way = 0
        self._stopped = False
        self._failure: BaseException | None = None
        self._reported_s = 0.0
        self._lock = threading.Lock()  # of the commands and of the loop behind them
        self._commands: list[Callable[[], None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed: asyncio.Event | None = None
        self._resolver: Resolver | None = None

    def arrange(self, plans: Iterable[ServicePlan]) -> None:
        """Measure these paths and no others; what is the same as before goes on untouched."""
        wanted = {plan.key: plan for plan in plans}
        self._do(lambda: self._arrange(wanted))

    def measure(
        self,
        plan: ServicePlan,
        *,
        phase_ns: int | None = None,
        count: int | None = None,
        on_exchange: Callable[[Exchange], None] | None = None,
    ) -> Asking:
        """Add a path; `on_exchange` is told each end, in the thread of `run`."""
        self._context(plan)  # it takes a while, and so precedes the schedule
        session = ServiceSession(plan, read_clocks(), phase_ns=phase_ns, count=count)
        asking = Asking(session, on_exchange)
        self._do(lambda: self._begin(asking))
        return asking

    def stop(self) -> None:
        """Let nothing further become due; `run` returns when nothing is under way."""
        self._do(self._stop)

    def run(self, *, until_stopped: bool = False) -> None:
        """Measure; returns when every path has finished and its windows were reported.

        `until_stopped`: and not before `stop`, for there may be further paths.
        """
        asyncio.run(self._run(until_stopped=until_stopped))

    async def _run(self, *, until_stopped: bool) -> None:
        loop = asyncio.get_running_loop()
        self._resolver = Resolver()
        with self._lock:
            self._loop, self._changed = loop, asyncio.Event()
        try:
            self._obey()
            while (until_stopped and not self._stopped) or self._asking:
                await self._turn(self._changed)
                self._obey()
                if self._failure is not None:
                    raise self._failure
                self._let_go()
                self._close_windows()
                if loop.time() - self._reported_s >= REPORT_S:
                    self._report()
            self._report()
        finally:
            with self._lock:
                self._loop = self._changed = None
            await self._end()

    async def _turn(self, changed: asyncio.Event) -> None:
        """Wait for a command, an end, or some time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TICK_S):
                await changed.wait()
        changed.clear()

    async def _end(self) -> None:
        tasks = [task for each in self._asking for task in (each.task, *each.exchanges) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _arrange(self, wanted: dict[SeriesKey, ServicePlan]) -> None:
        for key, asking in list(self._by_key.items()):
            if asking.session.plan != wanted.get(key):
                self._retire(self._by_key.pop(key))
        for key, plan in wanted.items():
            if key not in self._by_key:
                self._context(plan)  # it takes a while, and so precedes the schedule
                asking = self._by_key[key] = Asking(ServiceSession(plan, read_clocks()))
                self._begin(asking)

    def _begin(self, asking: Asking) -> None:
        self._reports.setdefault(asking.session.plan.key.path.src, Report())
        self._asking.append(asking)
        if self._stopped:
            asking.session.stop()
        asking.task = asyncio.get_running_loop().create_task(self._ask_on(asking))
        asking.task.add_done_callback(self._note_failure)

    def _retire(self, asking: Asking) -> None:
        asking.retired = True
        asking.session.stop()
        if asking.task is not None:
            asking.task.cancel()

    def _stop(self) -> None:
        self._stopped = True
        for asking in self._asking:
            self._retire(asking)

    async def _ask_on(self, asking: Asking) -> None:
        """Begin each request of a path when it is due."""
        session, loop = asking.session, asyncio.get_running_loop()
        while (due_ns := session.next_due_ns) is not None:
            await asyncio.sleep(max(0.0, (due_ns - read_clocks().mono_ns) / NS_PER_S))
            for packet in session.take_due(read_clocks()):
                if self._under_way >= UNDER_WAY_MAX:
                    session.skip(packet)
                    self._report_of(asking).discarded[TOO_MANY] += 1
                    continue
                self._under_way += 1
                task = loop.create_task(self._exchange(asking, packet))
                asking.exchanges.add(task)
                task.add_done_callback(asking.exchanges.discard)
                task.add_done_callback(self._note_failure)

    def _note_failure(self, task: asyncio.Task[None]) -> None:
        """Let a bug of ours surface in `run`; whatever peers do is no exception here."""
        if not task.cancelled() and (failure := task.exception()) is not None:
            self._failure = failure

    async def _exchange(self, asking: Asking, packet: Packet) -> None:
        plan, report = asking.session.plan, self._report_of(asking)
        assert self._resolver is not None
        try:
            context = self._context(plan)
            watch = Stopwatch()
            report.lateness_s.append(max(0, watch.started_ns - packet.due_ns) / NS_PER_S)
            connector = Connector(self._resolver, plan.dscp)
            exchange = await Transaction(plan.request, connector, context, watch).run(
                plan.timeout_ns
            )
        finally:
            self._under_way -= 1
        asking.session.settle(packet, exchange)
        if exchange.result is None:
            report.discarded[exchange.detail] += 1
        if asking.session.certificate_expires_s is not None:
            expires_s = asking.session.certificate_expires_s
            report.certificates[plan.key.path.id] = float(expires_s)
        if asking.on_exchange is not None:
            asking.on_exchange(exchange)
        if asking.session.next_due_ns is None and self._changed is not None:
            self._changed.set()

    def _context(self, plan: ServicePlan) -> ssl.SSLContext | None:
        if not wants_trust(plan.request):
            return None
        if plan.authorities not in self._contexts:
            self._contexts[plan.authorities] = new_context(plan.authorities)
        return self._contexts[plan.authorities]

    def _let_go(self) -> None:
        """Forget the paths of which all is told."""
        for asking in [each for each in self._asking if each.session.finished]:
            self._report_of(asking).windows += asking.session.flush()
            self._asking.remove(asking)

    def _close_windows(self) -> None:
        now = read_clocks()
        for asking in self._asking:
            self._report_of(asking).windows += asking.session.close(now)
        if any(report.windows for report in self._reports.values()):
            self._report()

    def _report_of(self, asking: Asking) -> Report:
        return self._reports[asking.session.plan.key.path.src]

    def _report(self) -> None:
        self._reported_s = asyncio.get_running_loop().time()
        self._on_report({site: report.take() for site, report in self._reports.items()})

    def _do(self, command: Callable[[], None]) -> None:
        """Have the engine's thread do something."""
        with self._lock:
            self._commands.append(command)
            if self._loop is not None and self._changed is not None:
                self._loop.call_soon_threadsafe(self._changed.set)

    def _obey(self) -> None:
        with self._lock:
            commands, self._commands = self._commands, []
        for command in commands:
            command()
