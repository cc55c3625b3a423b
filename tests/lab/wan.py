"""A wide-area network in user space between two namespaces, with a log of every packet."""

from __future__ import annotations

import functools
import json
import mmap
import os
import pathlib
import select
import stat
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from importlib.util import find_spec
from typing import Final, Self

import numpy as np

from . import namespaces
from .link import Link
from .namespaces import Namespace, Pair, set_up
from .wan_log import HEADER, HELD, LOG, LOG_BEGIN, ROWS, Rows
from .wan_setup import Setup

_TUN = pathlib.Path("/dev/net/tun")
_READY_TIMEOUT_S: Final = 600.0  # the first start on a machine compiles
_ANSWER_TIMEOUT_S: Final = 60.0
_QUEUE_PACKETS: Final = 10_000  # which a device holds until the emulator reads them
_QUIET_S: Final = 0.05
_HERE = __name__.rpartition(".")[0]


@functools.cache
def available() -> str | None:
    """Return why the emulator cannot run here; None when it can."""
    if (reason := namespaces.available()) is not None:
        return reason
    if find_spec("numba") is None:
        return "numba is not installed"
    try:
        if not _TUN.exists():
            _TUN.parent.mkdir(exist_ok=True)
            os.mknod(_TUN, 0o600 | stat.S_IFCHR, os.makedev(10, 200))
        os.close(os.open(_TUN, os.O_RDWR))
    except OSError as problem:
        return f"no TUN devices: {problem}"
    return None


class Wan:
    """Two namespaces joined by the emulator, from `with` to the end of the block.

    `a` and `b` are its ends. The log stays readable after the block.
    """

    def __init__(
        self,
        a: Namespace,
        b: Namespace,
        forward: Link | None = None,
        reverse: Link | None = None,
        *,
        seed: int = 1,
        subnet4: str = "10.66.0.0/30",
        subnet6: str = "fd00:66::/64",
        device: str = "wan0",
        log_rows: int = 2_000_000,
    ) -> None:
        """Say what the emulator shall do.

        Args:
            a: Gets the first host address of each subnet.
            b: Gets the second.
            forward: From a to b; None passes everything on at once.
            reverse: From b to a; None: like forward.
            seed: The n-th packet of a direction has the same fate with the same seed and links.
            subnet4: With its prefix length, as subnet6.
            subnet6: Its addresses are usable at once.
            device: Name of the device in both namespaces, at most 15 characters.
            log_rows: Packets and copies that can be logged; when the log is full the emulator
                fails. A row takes less than 100 octets of memory, once it is used.
        """
        self._namespaces = (a, b)
        self._links = (forward or Link(), reverse or forward or Link())
        self._seed, self._device, self._log_rows = seed, device, log_rows
        self._subnets = (subnet4, subnet6)
        self._process: subprocess.Popen[str] | None = None
        self._log = np.zeros(0, LOG)

    def __enter__(self) -> Self:
        self._errors = tempfile.TemporaryFile("w+")
        descriptor = os.memfd_create("wan-log")
        try:
            os.ftruncate(descriptor, LOG_BEGIN + self._log_rows * LOG.itemsize)
            self._memory = mmap.mmap(descriptor, 0)
            self._process = self._start(descriptor)
            self._await("ready", _READY_TIMEOUT_S)
            for namespace in self._namespaces:
                device = ("link", "set", "dev", self._device)
                namespace.ip(*device, "txqueuelen", str(_QUEUE_PACKETS), "addrgenmode", "none")
            pair = set_up(*self._namespaces, *self._subnets, self._device)
        except BaseException:
            self._end()
            raise
        finally:
            os.close(descriptor)
        self.a, self.b = pair.a, pair.b
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        """End the emulator; what is under way is gone.

        Raises:
            RuntimeError: it had ended before, for a reason of its own.
        """
        status, said = self._end()
        if status and kind is None:
            raise RuntimeError(f"the emulator failed with status {status}: {said}")

    @property
    def pair(self) -> Pair:
        """Both ends, for code that takes any two joined namespaces."""
        return Pair(self.a, self.b)

    @property
    def pid(self) -> int:
        """The emulator's process."""
        assert self._process is not None
        return self._process.pid

    def change(self, forward: Link, reverse: Link | None = None) -> None:
        """Let both directions behave so from now on; what is under way keeps its due time."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._links = (forward, reverse or forward)
        self._process.stdin.write(json.dumps([asdict(link) for link in self._links]) + "\n")
        self._process.stdin.flush()
        self._await("changed", _ANSWER_TIMEOUT_S)

    def log(self) -> Rows:
        """Return a copy of the log, see `wan_log.LOG`; while the emulator runs, as it is now."""
        if self._process is not None:
            header = np.frombuffer(self._memory, np.int64, HEADER)
            self._log = np.frombuffer(self._memory, LOG, int(header[ROWS]), LOG_BEGIN).copy()
        return self._log

    def settle(self, timeout_s: float = 60.0) -> None:
        """Wait until nothing has come in for 50 ms and nothing is under way.

        Raises:
            TimeoutError: there still was after that time.
        """
        deadline = time.monotonic() + timeout_s
        seen = -1
        while time.monotonic() < deadline:
            header = np.frombuffer(self._memory, np.int64, HEADER).copy()
            if header[HELD] == 0 and header[ROWS] == seen:
                return
            seen = int(header[ROWS])
            time.sleep(_QUIET_S)
        raise TimeoutError(f"packets still under way after {timeout_s} s")

    def _start(self, descriptor: int) -> subprocess.Popen[str]:
        a, b = self._namespaces
        setup = Setup((a.name, b.name), self._device, self._links, self._seed, descriptor)
        root = pathlib.Path(__file__).parents[_HERE.count(".") + 1]
        return subprocess.Popen(
            [sys.executable, "-P", "-m", f"{_HERE}.wan_process", setup.as_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            pass_fds=[descriptor],
            text=True,
            env={**os.environ, "PYTHONPATH": str(root), "NUMBA_DISABLE_JIT": "0"},
        )

    def _await(self, word: str, timeout_s: float) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], timeout_s)
        said = self._process.stdout.readline().strip() if ready else "nothing"
        if said != word:
            self._process.kill()
            raise RuntimeError(f"the emulator is not {word} but said {said!r}: {self._complaint()}")

    def _end(self) -> tuple[int, str]:
        """End the process and free what it had; return its status and what it complained of."""
        process = self._process
        status, said = 0, ""
        if process is not None:
            assert process.stdin is not None
            assert process.stdout is not None
            process.terminate()
            try:
                status = process.wait(_ANSWER_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                status = process.wait()
            said = self._complaint()
            self.log()
            process.stdin.close()
            process.stdout.close()
            self._process = None
            self._memory.close()
        self._errors.close()
        return status, said

    def _complaint(self) -> str:
        self._errors.seek(0)
        return self._errors.read()[-2000:]
