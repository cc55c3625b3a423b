"""The part that tests the capacity of one path whenever it is told to."""

from __future__ import annotations

import asyncio
import pathlib
import uuid
from dataclasses import dataclass, field
from typing import Final

from analytics.otlp import encode_batch
from analytics.readings import Reading
from analytics.windows import Batch
from netslo import metrics
from netslo.app.children import Link
from netslo.errors import NetsloError
from netslo.model import Path
from probes.bandwidth.budget import Budget
from probes.bandwidth.entering import Account, entered
from probes.bandwidth.plan import BandwidthPlan, Method
from probes.bandwidth.result import BandwidthResult
from probes.bandwidth.rounds import readings_of
from probes.bandwidth.state import StateDirectory
from probes.engine_thread import EngineThread
from probes.export import Deliverer
from probes.spool import Spool
from probes.warm_up import warm_up

_WHO: Final = "demo"
_TICK_S: Final = 0.1
_DRAIN_S: Final = 5.0
_WAIT_S: Final = 5.0  # for the lease of a test before, which ends when the queues are empty


@dataclass(slots=True)
class CapacityTests:
    """Tests of one path, each leased, paid for and delivered. Belongs to one event loop."""

    path: Path
    plan: BandwidthPlan
    collector_url: str
    spool_dir: pathlib.Path
    state_dir: pathlib.Path
    failures: list[str] = field(default_factory=list)
    _due: asyncio.Queue[None] = field(default_factory=asyncio.Queue)
    _ending: bool = False

    def begin(self) -> None:
        """Have a test run, behind those that wait."""
        self._due.put_nowait(None)

    async def run(self, stop: asyncio.Event) -> None:
        """Test until told to stop; what is under way then is told no more."""
        instance, sequence = str(uuid.uuid4()), 0
        with Spool(self.spool_dir) as spool:
            deliverer = Deliverer(spool, self.collector_url)
            delivering = asyncio.create_task(deliverer.run(stop))
            stopping = asyncio.create_task(stop.wait())
            while not stop.is_set():
                turn = asyncio.create_task(self._turn())
                await asyncio.wait({turn, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if not turn.done():
                    self._ending = True
                    turn.cancel()
                elif readings := turn.result():
                    batch = Batch(self.path.src, instance, sequence, (), readings=readings)
                    sequence += 1
                    spool.put(encode_batch(batch), instance_id=instance, sequence=batch.sequence)
            await delivering
            await deliverer.drain(_DRAIN_S)

    async def _turn(self) -> tuple[Reading, ...]:
        """Wait for a test's turn, and return its figures; a failure is noted."""
        await self._due.get()
        try:
            result = await asyncio.to_thread(self._test)
        except (NetsloError, OSError) as error:
            self.failures.append(str(error))
            return ()
        self.failures += [each.why for each in result.directions if each.why is not None]
        return tuple(_readings(self.path, result))

    def _test(self) -> BandwidthResult:
        state = StateDirectory(self.state_dir)
        account = Account(Budget(state), _WHO)
        with entered(self.plan, state, account, wait_s=_WAIT_S) as measuring:

            def look() -> None:
                measuring.check_lease()
                if self._ending:
                    measuring.stop()

            EngineThread(measuring).run(look, _TICK_S)
        return measuring.result


def _readings(path: Path, result: BandwidthResult) -> list[Reading]:
    """Return a test's figures, and beside TCP's goodput the capacity that its trains found."""
    trains = [
        Reading(
            path,
            each.ended_ns,
            metrics.BANDWIDTH,
            each.direction.value,
            Method.TRAIN.value,
            each.capacity.bit_per_s,
        )
        for each in result.directions
        if each.method is not Method.TRAIN
        and each.capacity is not None
        and each.capacity.bit_per_s is not None
    ]
    return trains + readings_of(path, result)


def capacity_part(
    link: Link,
    path: Path,
    plan: BandwidthPlan,
    collector_url: str,
    spool_dir: pathlib.Path,
    state_dir: pathlib.Path,
) -> None:
    """Test a path when told; ready when it could.

    Answers requests: `("test",)`, at once; `("failures",)`, with what went wrong so far.
    """

    async def run() -> None:
        loop, stop = asyncio.get_running_loop(), link.stop_event()
        tests = CapacityTests(path, plan, collector_url, spool_dir, state_dir)

        def answer(request: tuple[str]) -> list[str]:
            if request == ("test",):
                loop.call_soon_threadsafe(tests.begin)
            return list(tests.failures)

        await asyncio.to_thread(warm_up)
        link.answer_requests(answer)
        link.ready()
        await tests.run(stop)

    asyncio.run(run())
