"""How a thread gets a processor when it wants one: by priority, and by one of its own."""

from __future__ import annotations

import ctypes
import os
import random
import threading
from collections.abc import Collection
from contextlib import suppress
from typing import Final

_PRIORITY: Final = 10  # of SCHED_FIFO; anything above 0 precedes all ordinary threads
_PR_SET_TIMERSLACK: Final = 29


def hurry(processors: Collection[int] = ()) -> bool:
    """Ask that this thread be woken before all others; returns whether that was granted.

    A real-time thread of ours never spins, so it holds nobody up for long. Where the privilege
    is missing (CAP_SYS_NICE or a limit for rtprio), packets of a busy host leave later.

    Args:
        processors: Those which it shall stay on, for another thread has the others.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    if processors:
        with suppress(OSError, AttributeError):  # they may have been taken away since
            os.sched_setaffinity(0, processors)
    if os.environ.get("NETSLO_REALTIME", "1") == "0":
        return False
    return _ask(_PRIORITY)


def may_hurry() -> bool:
    """Whether this process may have real-time priority; tried in a thread that ends."""
    granted: list[bool] = []
    thread = threading.Thread(target=lambda: granted.append(_ask(1)), name="trial")
    thread.start()
    thread.join()
    return granted == [True]


def _ask(priority: int) -> bool:
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except (OSError, AttributeError):
        return False
    return True


def processors_apart() -> tuple[list[int], list[int]]:
    """Return two halves of the processors this process may use; two empty lists if there is one.

    A thread's timer is of the processor it sleeps on. If that is not there (a hypervisor has
    given it to others, an interrupt takes long), a thread of the other half is woken all the same.
    Which half comes first is left to chance: not every prober of a host begins on the same ones.
    """
    usable = sorted(os.sched_getaffinity(0))
    half = len(usable) // 2
    if half == 0:
        return [], []
    halves = [usable[:half], usable[half:]]
    random.shuffle(halves)
    return halves[0], halves[1]
