"""What the kernel knows of the wall clock's error; read only, no privilege needed."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Final

from netslo.model import NS_PER_S
from probes.stamp.error_estimate import ErrorEstimate

_STA_UNSYNC: Final = 0x0040
_TIME_ERROR: Final = 5
_long = ctypes.c_long


class _Timex(ctypes.Structure):
    """`struct timex` of adjtimex(2); only what is read here is named after its meaning."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", _long),
        ("freq", _long),
        ("maxerror", _long),  # microseconds
        ("esterror", _long),
        ("status", ctypes.c_int),
        ("constant", _long),
        ("precision", _long),
        ("tolerance", _long),
        ("time", _long * 2),
        ("tick", _long),
        ("pps", _long * 3),
        ("more", ctypes.c_int * 32),  # larger than any kernel writes
    )


@dataclass(frozen=True, slots=True)
class ClockState:
    """Whether the wall clock follows UTC, and by how much it may be off.

    `error_ns_max` is None when the kernel does not say.
    """

    synchronised: bool
    error_ns_max: int | None

    @property
    def error_s_max(self) -> float | None:
        return None if self.error_ns_max is None else self.error_ns_max / NS_PER_S

    def error_estimate(self) -> ErrorEstimate:
        """Return the state as a STAMP Error Estimate, rounded up."""
        return ErrorEstimate.bounding(self.error_ns_max, synchronised=self.synchronised)


UNKNOWN_CLOCK: Final = ClockState(synchronised=False, error_ns_max=None)


def read_clock_state() -> ClockState:
    """Ask adjtimex(2); a host without it has an unsynchronised clock of unknown error."""
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return UNKNOWN_CLOCK
    timex = _Timex()  # modes = 0: nothing is set
    state = adjtimex(ctypes.byref(timex))
    if state < 0:
        return UNKNOWN_CLOCK
    synchronised = state != _TIME_ERROR and not timex.status & _STA_UNSYNC
    return ClockState(synchronised, max(0, timex.maxerror) * 1000)
