"""Timestamps by the network device: when its clock may be used, and how to read it as Unix time.

A card that stamps packets has a clock of its own (PHC, linux/ptp_clock.h), which stands anywhere
and runs at its own speed until somebody (ptp4l, phc2sys, chrony) steers it. It is used where
exactly one such clock stamps every packet (`hwstamp_ctl -t 1 -r 1`; we never change a device) and
keeps pace with the system's. The distance between both is read every second and added to every
stamp, so that a sample may have one timestamp of the device and another of the kernel.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Final, NamedTuple

from netslo.model import NS_PER_S
from probes.interfaces import Interface, list_interfaces

_log = logging.getLogger(__name__)

# linux/net_tstamp.h: TX_HARDWARE, RX_HARDWARE, RAW_HARDWARE
HARDWARE_FLAGS: Final = 1 << 0 | 1 << 2 | 1 << 6

# Of this process. ASK: what sockets ask the kernel for beside its own stamps, 0 as long as no
# device's are wanted. ADD: what makes Unix time of a device's, in ns. Compiled code reads it too.
DEVICE: Final = array("q", [0, 0])
ASK: Final = 0
ADD: Final = 1

_DRIFT_MAX: Final = 1e-6  # so that a stamp is wrong by 1 us at most until the next reading
_SPAN_NS_MAX: Final = 10_000  # a reading that took longer was interrupted
_AGE_NS_MAX: Final = 5 * NS_PER_S  # for so long the last good reading may do
_TRIES: Final = 16
_PERIOD_S: Final = 1.0
_FIRST_PERIOD_S: Final = 0.1


class Reading(NamedTuple):
    """Two clocks at one moment."""

    offset_ns: int  # the system's time less the device's
    span_ns: int  # how long it took: the offset is right within half of it
    mono_ns: int


@dataclass(frozen=True, slots=True)
class DeviceUse:
    """Which device's clock stamps packets here, and whether its stamps are used."""

    interface: str | None  # None: no device stamps every packet
    used: bool
    reason: str = ""  # why they are not
    mend: str = ""


@dataclass(slots=True)
class Pace:
    """Judges from one reading after another whether two clocks keep pace."""

    last: Reading | None = field(default=None, init=False)
    steady: bool = field(default=False, init=False)

    def take(self, reading: Reading) -> None:
        """Judge by one more reading; one that was interrupted says nothing."""
        if reading.span_ns > _SPAN_NS_MAX:
            if self.last is not None and reading.mono_ns - self.last.mono_ns > _AGE_NS_MAX:
                self.steady = False
            return
        if self.last is not None:
            elapsed_ns = reading.mono_ns - self.last.mono_ns
            unsure_ns = (reading.span_ns + self.last.span_ns) / 2
            moved_ns = abs(reading.offset_ns - self.last.offset_ns)
            self.steady = moved_ns <= elapsed_ns * _DRIFT_MAX + unsure_ns
        self.last = reading


class DeviceClock:
    """A device's clock that is looked at again and again; `read` may raise OSError."""

    def __init__(self, read: Callable[[], Reading], shared: array[int] = DEVICE) -> None:
        self._read = read
        self._shared = shared
        self._pace = Pace()

    def look(self) -> str:
        """Read the clock, and let its stamps be used or not; return why not, or nothing."""
        try:
            self._pace.take(self._read())
        except OSError as error:
            self._shared[ASK] = 0
            return f"its clock cannot be read: {error.strerror}"
        if self._pace.last is None or not self._pace.steady:
            self._shared[ASK] = 0
            return "its clock does not keep pace with the system's within 1 µs/s"
        self._shared[ADD] = self._pace.last.offset_ns
        self._shared[ASK] = HARDWARE_FLAGS
        return ""

    def follow(self, name: str) -> None:
        """Look once a second, for ever, and say when it begins or ceases to be used."""
        known = ""
        while True:
            time.sleep(_PERIOD_S)
            reason = self.look()
            if reason != known:
                _log.warning("timestamps of %s: %s", name, reason or "its clock is used again")
            known = reason


def read_clock(clock: int) -> Reading:
    """Compare a clock with the system's: of some readings, that which was quickest.

    Raises:
        OSError: there is no such clock, or no longer.
    """
    best = Reading(0, 1 << 62, time.monotonic_ns())
    for _ in range(_TRIES):
        before_ns = time.time_ns()
        device_ns = time.clock_gettime_ns(clock)
        span_ns = time.time_ns() - before_ns
        if 0 <= span_ns < best.span_ns:
            offset_ns = before_ns + span_ns // 2 - device_ns
            best = Reading(offset_ns, span_ns, time.monotonic_ns())
    return best


def choose(interfaces: Iterable[Interface]) -> tuple[Sequence[Interface], DeviceUse]:
    """Return the interfaces whose common clock may be used, and what is said of them."""
    with_clock = [i for i in interfaces if i.up and i.timestamping]
    capable = [i for i in with_clock if i.timestamping and i.timestamping.hardware]
    stamping = [interface for interface in capable if interface.device_stamps]
    if not stamping:
        if not capable:
            return (), DeviceUse(None, used=False)
        name = capable[0].name
        mend = f"hwstamp_ctl -i {name} -t 1 -r 1"
        return (), DeviceUse(name, used=False, reason="it is not switched on", mend=mend)
    busy = [i for i in with_clock if i.device_stamps or i.device_busy]  # for PTP alone, perhaps
    clocks = {i.timestamping.phc_index for i in busy if i.timestamping}
    names = ", ".join(interface.name for interface in stamping)
    if len(clocks) > 1:
        reason = "several clocks stamp here, and a timestamp does not say which"
        return (), DeviceUse(names, used=False, reason=reason)
    return stamping, DeviceUse(names, used=True)


@cache
def use_device_clock() -> DeviceUse:
    """Have timestamps of this host's device used where there are any; said once in a process."""
    chosen, use = choose(list_interfaces())
    if not chosen or chosen[0].timestamping is None:
        return use
    path = f"/dev/ptp{chosen[0].timestamping.phc_index}"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # for as long as this process lives
    except OSError as error:
        reason = f"{path} cannot be opened: {error.strerror}"
        mend = f"a udev rule that lets this user read {path}"
        return DeviceUse(use.interface, used=False, reason=reason, mend=mend)
    name = str(use.interface)
    clock = DeviceClock(lambda: read_clock(clock_of(descriptor)))
    clock.look()
    time.sleep(_FIRST_PERIOD_S)
    reason = clock.look()
    if not reason:  # sockets ask when they are opened: a clock that settles later is for the next
        follow = threading.Thread(target=clock.follow, args=(name,), name="device clock")
        follow.daemon = True
        follow.start()
    mend = f"phc2sys -s CLOCK_REALTIME -c {chosen[0].name} -O 0" if reason else ""
    return DeviceUse(name, used=not reason, reason=reason, mend=mend)


def clock_of(descriptor: int) -> int:
    """Return the number by which clock_gettime(2) knows an open clock (linux/posix-timers.h)."""
    return (~descriptor << 3) | 3


def unix_ns(seconds: int, ns: int) -> int:
    """Return the Unix time in ns of a device's timestamp, while its clock is used; 0 for none."""
    device_ns = seconds * NS_PER_S + ns
    return device_ns + DEVICE[ADD] if device_ns else 0
