"""Child processes of one run: started with a value, heard from through a pipe, ended in order.

A child tells `ready` (with a value, such as the port it got) or the reason why it cannot
start, answers requests while it works, and stops on SIGTERM. Ctrl-C reaches the parent only,
so that the parent ends the children in the right order; if the parent dies, so do they.
"""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any, Final

from netslo.errors import NetsloError

START_TIMEOUT_S: Final = 300.0  # a cold machine compiles kernels for a while
STOP_TIMEOUT_S: Final = 20.0
_PR_SET_PDEATHSIG: Final = 1

Target = Callable[..., None]


class StopEvent(threading.Event):
    """An event that a signal handler may set, however often and wherever it interrupts.

    `threading.Event` has a lock, which a handler would ask for while the thread that it interrupted
    holds it; a `SimpleQueue` may be put into from within itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self._is_set = False
        self._told: queue.SimpleQueue[None] = queue.SimpleQueue()

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        self._told.put(None)

    def wait(self, timeout: float | None = None) -> bool:
        try:
            self._told.get(timeout=timeout)
        except queue.Empty:
            return self._is_set
        self._told.put(None)  # for whoever else waits, and for the next time
        return True


class Link:
    """A child's end of the pipe."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.stopped = StopEvent()
        self._on_stop: list[Callable[[], None]] = []

    def ready(self, value: Any = None) -> None:
        """Tell the parent that the work has begun."""
        self._connection.send(("ready", value))

    def stop(self) -> None:
        """Ask the child's own loop to end; safe from a signal handler."""
        self.stopped.set()
        for callback in self._on_stop:
            callback()

    def stop_event(self) -> asyncio.Event:
        """Return an event of the running loop which is set when the child shall stop."""
        loop, event = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(event.set)

        self._on_stop.append(wake)
        if self.stopped.is_set():
            event.set()
        return event

    def answer_requests(self, handle: Callable[[Any], Any]) -> None:
        """Answer the parent's requests in a thread of their own until the pipe closes."""

        def serve() -> None:
            while True:
                try:
                    request = self._connection.recv()
                except (EOFError, OSError):
                    return
                self._connection.send(("answer", handle(request)))

        threading.Thread(target=serve, name="requests", daemon=True).start()


class Child:
    """One child process, seen from the parent."""

    def __init__(self, name: str, target: Target, *args: Any, parental: bool = False) -> None:
        """Prepare the process.

        Args:
            name: What a user knows it by.
            target: What it does; gets its `Link` and `args`.
            args: Sent to it.
            parental: Whether it has children of its own, which it ends itself.
        """
        context = multiprocessing.get_context("spawn")
        self.name = name
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_main, args=(theirs, os.getpid(), target, args), name=name, daemon=not parental
        )
        self._theirs = theirs

    def start(self) -> Child:
        """Start the process; `wait_ready` hears how it went."""
        self._process.start()
        self._theirs.close()
        return self

    def wait_ready(self) -> Any:
        """Return the value the child is ready with.

        Raises:
            NetsloError: it could not start; the message and exit status are the child's own.
        """
        return self._receive("ready", START_TIMEOUT_S)

    def request(self, message: Any, timeout_s: float = 30.0) -> Any:
        """Ask the child something and return its answer.

        Raises:
            NetsloError: it has ended, or does not answer.
        """
        try:
            self._connection.send(message)
        except OSError as error:
            raise NetsloError(f"{self.name} has ended") from error
        return self._receive("answer", timeout_s)

    def _receive(self, expected: str, timeout_s: float) -> Any:
        try:
            if not self._connection.poll(timeout_s):
                raise NetsloError(f"{self.name} did not answer within {timeout_s:g} s")
            kind, value = self._connection.recv()
        except (EOFError, OSError) as error:
            raise NetsloError(f"{self.name} ended unexpectedly") from error
        if kind == "error":
            message, exit_code = value
            failure = NetsloError(message)
            failure.exit_code = exit_code
            raise failure
        if kind != expected:
            raise NetsloError(f"{self.name} said {kind} where {expected} was due")
        return value

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def ask_to_stop(self) -> None:
        """Send SIGTERM and do not wait; `stop` does."""
        if self._process.pid is not None:
            self._process.terminate()

    def stop(self) -> None:
        """End the process: SIGTERM, and SIGKILL when it does not obey."""
        if self._process.pid is None:
            return
        self._process.terminate()
        self._process.join(STOP_TIMEOUT_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._connection.close()


def _main(connection: Connection, parent_pid: int, target: Target, args: tuple[Any, ...]) -> None:
    """Run in the child: obey SIGTERM, report what a user must know, work."""
    for number in (signal.SIGINT, signal.SIGHUP):  # the parent's to obey
        signal.signal(number, signal.SIG_IGN)
    link = Link(connection)

    def terminate(_number: int, _frame: FrameType | None) -> None:
        link.stop()

    signal.signal(signal.SIGTERM, terminate)
    _die_with(parent_pid)
    try:
        target(link, *args)
    except NetsloError as error:
        connection.send(("error", (str(error), error.exit_code)))


def _die_with(parent_pid: int) -> None:
    """Have the kernel end this process when its parent dies, however it dies."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent_pid:  # it died before we asked
        os.kill(os.getpid(), signal.SIGTERM)


def stop_all(children: list[Child]) -> None:
    """End children in reverse order of their start."""
    for child in reversed(children):
        child.stop()
