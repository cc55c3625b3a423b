"""The part that has a small real network, and measures across it from inside.

It must be alone in its process until it has its namespaces: a user namespace is granted to a
process of one thread only, and numpy starts some. So what it needs beyond is imported late.
"""

from __future__ import annotations

import asyncio
import pathlib
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from netslo.app.children import Child, Link, stop_all
from netslo.app.lab.courier import carrying, listen
from netslo.app.lab.namespaces import Namespaces, NoNamespaces
from netslo.app.lab.network import FAR, FAR_ADDRESS, FAR_DEVICE, NEAR, NEAR_DEVICE, Network
from netslo.errors import NetsloError
from netslo.model import Endpoint

if TYPE_CHECKING:
    from netslo.app.lab.taps import Taps
    from netslo.app.parts.probes import Plan

STAMP_PORT: Final = 862
_LOOK_S: Final = 0.5  # how soon it is noticed that a process has ended


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no such network here."""

    reason: str


def lab_part(link: Link) -> None:
    """Be the network and what measures it; ready with the far site's reflector or a `Refusal`.

    Answers requests: `("measure", plans, sites, collector, spool folder)`, which begins it;
    `("primary", whether it works)`; `("end",)`, which lets no further packet become due; and
    `("truth", windows)`, once all is delivered, with what the network did to the packets that
    left outside of these windows.

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
    """The network at work. All but `_answer` belongs to the loop."""

    link: Link
    network: Network
    taps: Taps
    children: list[Child] = field(default_factory=list)
    ending: Child | None = None
    exits: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def run(self) -> None:
        """Work until the link says stop."""
        loop, stop = asyncio.get_running_loop(), self.link.stop_event()
        async with self.exits:
            self.exits.push_async_callback(asyncio.to_thread, self._stop)
            for tap, read in (
                (self.taps.near, self.taps.read_near),
                (self.taps.far, self.taps.read_far),
            ):
                loop.add_reader(tap, read)
                self.exits.callback(loop.remove_reader, tap)
            await self._start(FAR, Child("far site of the real link", _reflect))
            self.link.answer_requests(
                lambda request: asyncio.run_coroutine_threadsafe(
                    self._answer(*request), loop
                ).result()
            )
            self.link.ready(Endpoint(FAR_ADDRESS, STAMP_PORT))
            while not stop.is_set():
                for child in self.children:
                    if not child.alive:
                        raise NetsloError(f"{child.name} ended unexpectedly")
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_S):
                        await stop.wait()

    async def _answer(self, what: str, *rest: Any) -> Any:
        match what:
            case "measure":
                await self._measure(*rest)
            case "primary":
                works: bool = rest[0]
                change = self.network.mend_primary if works else self.network.break_primary
                await asyncio.to_thread(change)
            case "end":
                self.ending = self.children.pop()
                self.ending.ask_to_stop()
            case "truth":
                if self.ending is not None:
                    await asyncio.to_thread(self.ending.stop)
                return self.taps.truth(*rest)
        return None

    async def _measure(
        self, plans: Sequence[Plan], sites: Sequence[str], collector: Endpoint, spool: pathlib.Path
    ) -> None:
        await asyncio.to_thread(self.children[0].wait_ready)  # the far site answers
        way_out = self.network.inside(NEAR, listen)
        host, port = way_out.getsockname()
        await self.exits.enter_async_context(carrying(way_out, collector))
        url = f"http://{Endpoint(host, port)}"
        await self._start(
            NEAR, Child("near site of the real link", _probe, plans, sites, url, spool)
        )

    def _stop(self) -> None:
        for child in self.children:
            child.ask_to_stop()  # all at once: who stops us does not wait for ever
        stop_all(self.children)

    async def _start(self, place: str, child: Child) -> None:
        self.network.inside(place, child.start)
        self.children.append(child)


def _reflect(link: Link) -> None:
    """Answer test packets at the far site."""
    from netslo.app.parts.reflectors import reflectors_part

    reflectors_part(link, {FAR: Endpoint(FAR_ADDRESS, STAMP_PORT)})


def _probe(link: Link, *arguments: Any) -> None:
    """Measure from the near site."""
    from netslo.app.parts.probes import probes_part

    probes_part(link, *arguments)
