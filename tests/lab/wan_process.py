"""The emulator's process: `python -m lab.wan_process '<Setup as JSON>'`, started by `Wan`.

It says `ready` when the devices are there and the loop is compiled. A line of JSON on standard
input, a list of two links, changes both and is answered by `changed`. The end of standard input
or SIGTERM ends it; the log is in memory that its parent owns, so nothing is left to be written.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import mmap
import os
import signal
import struct
import sys
from typing import Final

import numpy as np

from .link import Link
from .namespaces import entered
from .wan_kernel import (
    DEVICE_GONE,
    LOG_FULL,
    TOLD,
    Emulator,
    carry,
    new_emulator,
    set_links,
)
from .wan_log import HEADER, LOG, LOG_BEGIN
from .wan_setup import Setup

_TUNSETIFF: Final = 0x400454CA
_IFF_TUN_NO_PI: Final = 0x1001
_PR_SET_TIMERSLACK: Final = 29
_PRIORITY: Final = 10
_FAILURES: Final = {
    LOG_FULL: "the log is full: give the emulator more log_rows, or less to do",
    DEVICE_GONE: "a device is gone: its namespace was removed before the emulator ended",
}


def main() -> int:
    """Carry packets until told to end; return the exit status."""
    setup = Setup.from_json(sys.argv[1])
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.signal(signal.SIGTERM, lambda *_: None)  # the byte in the pipe is what counts
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for the parent, who will end this
    signal.set_wakeup_fd(tell)
    devices = np.array([_open_tun(name, setup.device) for name in setup.namespaces], np.int32)
    emulator = _emulator_on(setup.log_descriptor)
    set_links(emulator, setup.links)
    controls = np.array([told, sys.stdin.fileno()], np.int32)
    randoms = [np.random.default_rng([setup.seed, direction]) for direction in range(2)]

    os.write(tell, b"\0")  # the first call compiles, finds this and returns
    carry(devices, controls, emulator, *randoms)
    os.read(told, 1)
    _hurry()
    print("ready", flush=True)
    while True:
        reason = carry(devices, controls, emulator, *randoms)
        if reason != TOLD:
            print(_FAILURES[reason], file=sys.stderr)
            return 1
        if not _change(emulator, told):
            return 0
        print("changed", flush=True)


def _change(emulator: Emulator, told: int) -> bool:
    """Take what is on standard input; False when it is time to end."""
    with contextlib.suppress(BlockingIOError):
        os.set_blocking(told, False)
        if os.read(told, 1):
            return False
    line = sys.stdin.readline()
    if not line:
        return False
    set_links(emulator, [Link.from_json(link) for link in json.loads(line)])
    return True


def _open_tun(namespace: str, device: str) -> int:
    """Make a device for IP packets in a namespace; it is there until the descriptor closes."""
    with entered(namespace):
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        request = struct.pack("16sH22x", device.encode(), _IFF_TUN_NO_PI)
        fcntl.ioctl(descriptor, _TUNSETIFF, request)
    return descriptor


def _emulator_on(descriptor: int) -> Emulator:
    memory = mmap.mmap(descriptor, 0)
    header = np.frombuffer(memory, np.int64, HEADER)
    return new_emulator(np.frombuffer(memory, LOG, offset=LOG_BEGIN), header)


def _hurry() -> None:
    """Ask to be woken in time; where that is not granted, it works too, less exactly."""
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_PRIORITY))


if __name__ == "__main__":
    sys.exit(main())
