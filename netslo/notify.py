"""Telling a service manager how it goes (sd_notify(3)); without one, nothing is told.

Where nobody listens to sd_notify, as in a container, NETSLO_ALIVE_FILE names a file for the same
beat: `netslo healthcheck` reads it.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

_NS_PER_US: Final = 1000
_S_PER_US: Final = 1e-6
_NS_PER_S: Final = 1_000_000_000
_AGE_MAX: Final = 64  # octets of the file that may be read

ALIVE_FILE: Final = "NETSLO_ALIVE_FILE"


class Notifier:
    """Sends states to the socket in NOTIFY_SOCKET, a path or an abstract name (`@NAME`).

    A manager that does not listen is never waited for, and never an error. For one thread.
    """

    def __init__(
        self,
        environ: Mapping[str, str] = os.environ,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        name = environ.get("NOTIFY_SOCKET", "")
        self._clock = clock
        self._address = None
        if name.startswith("/"):
            self._address = name
        elif name.startswith("@") and len(name) > 1:
            self._address = "\0" + name[1:]
        self.beat_s = _beat_s(environ)
        self._beat_ns = clock()
        self._alive_file = environ.get(ALIVE_FILE, "")
        self._alive_ns: int | None = None

    def ready(self, status: str = "") -> None:
        """The work has begun, or goes on by the new configuration."""
        self._send("READY=1", _status(status))

    def reloading(self) -> None:
        """The configuration is being read again; `ready` ends that."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={self._clock() // _NS_PER_US}")

    def status(self, text: str) -> None:
        """Say in one line how it goes."""
        self._send(_status(text))

    def stopping(self) -> None:
        """The end has begun."""
        self._send("STOPPING=1")

    def beat(self) -> None:
        """Tell the watchdog that all is well, as often as it asks; call it more often."""
        now_ns = self._clock()
        if self.beat_s is not None and now_ns - self._beat_ns >= self.beat_s * 1e9:
            self._beat_ns = now_ns
            self._send("WATCHDOG=1")
        if self._alive_file and (self._alive_ns is None or now_ns - self._alive_ns >= _NS_PER_S):
            self._alive_ns = now_ns
            self._write_alive(now_ns)

    def _write_alive(self, now_ns: int) -> None:
        """Write the time of the beat; a file that cannot be written shows in who reads it."""
        with suppress(OSError):
            flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
            opened = os.open(self._alive_file, flags, 0o644)
            try:
                os.write(opened, f"{now_ns:020d}\n".encode())  # as long each time: never half
            finally:
                os.close(opened)

    def _send(self, *lines: str) -> None:
        if self._address is None:
            return
        message = "\n".join(line for line in lines if line).encode()
        with (
            suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock,
        ):
            sock.sendto(message, socket.MSG_DONTWAIT, self._address)


def alive_age_s(file: str, clock: Callable[[], int] = time.monotonic_ns) -> float | None:
    """Return how long ago a process of this host last beat into `file`; None: never, or no beat.

    The monotonic clock, so that one that is set makes nobody look dead.
    """
    try:
        with open(file, "rb") as opened:  # noqa: PTH123 - a name from the environment
            text = opened.read(_AGE_MAX).strip()
    except OSError:
        return None
    if not (text.isascii() and text.isdigit()):
        return None
    age_s = (clock() - int(text)) / _NS_PER_S
    return age_s if age_s >= 0 else None


def _status(text: str) -> str:
    return f"STATUS={' '.join(text.split())}" if text else ""


def _beat_s(environ: Mapping[str, str]) -> float | None:
    """Return how often to beat: three times in the watchdog's patience; None: it does not ask."""
    patience_us, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not (patience_us.isascii() and patience_us.isdigit() and int(patience_us)):
        return None
    if pid and pid != str(os.getpid()):
        return None
    return int(patience_us) * _S_PER_US / 3
