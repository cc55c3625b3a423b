"""A probe measures its own host once, beside its work, and says what it found as its health."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Final

from netslo.errors import NetsloError
from probes.health import ProbeHealth
from probes.noise_floor import NoiseFloor, measure_noise_floor

_log = logging.getLogger(__name__)

# So slowly that it does not show in what the probe measures meanwhile; 4,000 packets bound P99.9.
SECONDS: Final = 40.0
RATE: Final = 100.0


@asynccontextmanager
async def reporting_noise_floor(
    healths: Iterable[ProbeHealth], *, seconds: float = SECONDS, rate: float = RATE
) -> AsyncIterator[None]:
    """Measure the host's noise in a thread meanwhile, and state it in each health when known.

    What the end of the context cuts short is not stated.
    """
    stop = threading.Event()
    task = asyncio.create_task(_report(list(healths), stop, seconds, rate))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait([task])
    task.result()


async def _report(
    healths: list[ProbeHealth], stop: threading.Event, seconds: float, rate: float
) -> None:
    floor = await asyncio.to_thread(_measure, stop, seconds, rate)
    if floor is not None and not stop.is_set():
        for health in healths:
            health.set_noise_floor(floor.figures)


def _measure(stop: threading.Event, seconds: float, rate: float) -> NoiseFloor | None:
    with suppress(RuntimeError):  # the interpreter is going down
        try:
            return measure_noise_floor(seconds=seconds, rate=rate, stop=stop)
        except NetsloError as error:
            _log.warning("this host's noise floor is not known: %s", error)
    return None
