"""The part that has a small real network, and measures across it from inside.

It must be alone in its process until it has its namespaces: a user namespace is granted to a
process of one thread only, and numpy starts some. So what it needs beyond is imported late.
"""

from __future__ import annotations

import asyncio
import pathlib
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from netslo.app.children import Child, Link, stop_all
from netslo.app.lab.courier import carrying, listen
from netslo.app.lab.namespaces import Namespaces, NoNamespaces
from netslo.app.lab.network import FAR, FAR_ADDRESS, FAR_DEVICE, NEAR, NEAR_DEVICE, Network
from netslo.errors import NetsloError
from netslo.model import Endpoint, Path

if TYPE_CHECKING:
    from netslo.app.lab.taps import Taps
    from probes.agent import Plan

STAMP_PORT: Final = 862
TESTS_PORT: Final = 8862
_LOAD_S: Final = 4.0
_LOOK_S: Final = 0.5  # how soon it is noticed that a process has ended


@dataclass(frozen=True, slots=True)
class Task:
    """What to measure across the link, from its near site.

    Folders are used as they are; `states` has leases and budget of either site.
    """

    path: Path
    plans: tuple[Plan, ...]
    collector: Endpoint
    spool: pathlib.Path
    states: pathlib.Path


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no such network here."""

    reason: str


def lab_part(link: Link) -> None:
    """Be the network and what measures it; ready with the far site's reflector or a `Refusal`.

    Answers requests:

    - `("prepare", task)`: when all is there that measuring needs;
    - `("measure", task)`: which begins it;
    - `("primary", whether it works)`;
    - `("test",)`: which has its capacity tested, behind what is tested already;
    - `("end",)`: no further packet becomes due; with what went wrong in tests;
    - `("wait",)`: when all is delivered;
    - `("truth", windows)`: with what the network did to packets that left outside of these.

    Raises:
        NetsloError: one of its processes has ended.
    """
    with ExitStack() as stack:
        try:
            network = Network(stack.enter_context(Namespaces()))
        except NoNamespaces as reason:
            link.ready(Refusal(str(reason)))
            return
        from netslo.app.lab.taps import Taps, open_tap

        taps = Taps(
            network.inside(NEAR, lambda: open_tap(NEAR_DEVICE)),
            network.inside(FAR, lambda: open_tap(FAR_DEVICE)),
        )
        stack.callback(taps.close)
        asyncio.run(_Lab(link, network, taps).run())


@dataclass(slots=True)
class _Lab:
    """The network at work."""

    link: Link
    network: Network
    taps: Taps
    tests: Child = field(init=False)
    url: str = ""  # of the collector, from the near site
    children: list[Child] = field(default_factory=list)
    ending: list[Child] = field(default_factory=list)
    failure: NetsloError | None = None  # of a request
    exits: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def run(self) -> None:
        """Work until the link says stop."""
        loop, stop = asyncio.get_running_loop(), self.link.stop_event()
        async with self.exits:
            for tap, read in (
                (self.taps.near, self.taps.read_near),
                (self.taps.far, self.taps.read_far),
            ):
                loop.add_reader(tap, read)
                self.exits.callback(loop.remove_reader, tap)

            def answer(request: tuple[Any, ...]) -> Any:
                try:
                    return asyncio.run_coroutine_threadsafe(self._answer(*request), loop).result()
                except NetsloError as error:
                    self.failure = error
                    self.link.stop()
                    return None

            self.link.answer_requests(answer)
            self.link.ready(Endpoint(FAR_ADDRESS, STAMP_PORT))
            while not stop.is_set():
                for child in self.children:
                    if not child.alive:
                        raise NetsloError(f"{child.name} ended unexpectedly")
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_S):
                        await stop.wait()
        if self.failure is not None:
            raise self.failure

    async def _answer(self, what: str, *rest: Any) -> Any:
        match what:
            case "prepare":
                await self._prepare(*rest)
            case "measure":
                await self._start(
                    NEAR, Child("near site of the real link", _probe, *rest, self.url)
                )
            case "primary":
                works: bool = rest[0]
                change = self.network.mend_primary if works else self.network.break_primary
                await asyncio.to_thread(change)
            case "test":
                await asyncio.to_thread(self.tests.request, ("test",))
            case "end":
                failures = await asyncio.to_thread(self.tests.request, ("failures",))
                self.ending, self.children[1:] = self.children[1:], []
                for child in self.ending:
                    child.ask_to_stop()
                return failures
            case "wait":
                await asyncio.to_thread(stop_all, self.ending)
            case "truth":
                return self.taps.truth(*rest)
        return None

    async def _prepare(self, task: Task) -> None:
        """Have the far site answer, and capacity tests begin when they are told to."""
        way_out = self.network.inside(NEAR, listen)
        host, port = way_out.getsockname()
        await self.exits.enter_async_context(carrying(way_out, task.collector))
        self.exits.push_async_callback(asyncio.to_thread, self._stop)  # while the courier works
        self.url = f"http://{Endpoint(host, port)}"
        far = Child("far site of the real link", _answer_all, task.states / FAR)
        await self._start(FAR, far)
        self.tests = Child("tests of the real link", _test, task, self.url)
        await self._start(NEAR, self.tests)
        await asyncio.to_thread(far.wait_ready)
        await asyncio.to_thread(self.tests.wait_ready)

    def _stop(self) -> None:
        children = self.children + self.ending
        for child in children:
            child.ask_to_stop()  # all at once: who stops us does not wait for ever
        stop_all(children)

    async def _start(self, place: str, child: Child) -> None:
        self.network.inside(place, child.start)
        self.children.append(child)


def _answer_all(link: Link, state_dir: pathlib.Path) -> None:
    """Answer test packets and bandwidth tests at the far site."""
    from probes.bandwidth.admission import ServerLimits
    from probes.bandwidth.granting import KeptLeases
    from probes.bandwidth.keeper import FileKeeper
    from probes.bandwidth.serving import BandwidthService
    from probes.bandwidth.state import StateDirectory
    from probes.reflectors import Reflectors, Station

    stamp = Endpoint(FAR_ADDRESS, STAMP_PORT)
    reflectors = Reflectors()
    reflectors.arrange([Station(stamp)])
    leases = KeptLeases(FileKeeper(StateDirectory(state_dir)))
    tests = BandwidthService([Endpoint(FAR_ADDRESS, TESTS_PORT)], ServerLimits(), leases)
    tests.begin(None, [stamp])
    link.ready()
    while not link.stopped.wait(_LOOK_S):
        reflectors.check()
        tests.check()
    tests.end()
    reflectors.end()


def _probe(link: Link, task: Task, collector_url: str) -> None:
    """Measure from the near site, as a probe of the site does."""
    from netslo.app.parts.probes import probes_part

    probes_part(link, task.plans, (task.path.src,), collector_url, task.spool / "probe")


def _test(link: Link, task: Task, collector_url: str) -> None:
    """Test the capacity from the near site."""
    from netslo.app.parts.capacity import capacity_part
    from probes.bandwidth.bottleneck import names_between
    from probes.bandwidth.plan import BandwidthPlan

    plan = BandwidthPlan(
        target=Endpoint(FAR_ADDRESS, TESTS_PORT),
        seconds=_LOAD_S,
        bottlenecks=names_between(task.path.src, task.path.dst),
        holder=f"the demo at {task.path.src}",
    )
    capacity_part(link, task.path, plan, collector_url, task.spool / "tests", task.states / NEAR)
