"""A command that runs until it is stopped: signals, service manager, a watchdog, a reload."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import click

from netslo.errors import NetsloError
from netslo.notify import Notifier

_BEAT_S = 0.5  # how often the watchdog's turn is looked for


class Service:
    """What surrounds the work of such a command. For the thread of the running loop.

    SIGTERM and SIGINT set `stop`. SIGHUP reads the configuration again, where `reload` is given:
    one that is no good is said, and the one before goes on.
    """

    def __init__(self, name: str, reload: Callable[[], Awaitable[str]] | None = None) -> None:
        self.stop = asyncio.Event()
        self.healthy: Callable[[], bool] = lambda: True  # whether the watchdog may be told so
        self._name = name
        self._reload = reload
        self._notifier = Notifier()
        self._reloading = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def listen(self) -> None:
        """Take signals from now on."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        if self._reload is not None:
            loop.add_signal_handler(signal.SIGHUP, self._spawn_reload)
        self._spawn(self._beat())

    def say(self, text: str) -> None:
        """Print a line for a person."""
        click.echo(f"netslo {self._name}: {text}")
        sys.stdout.flush()

    def ready(self, status: str) -> None:
        """Say that the work has begun, to everybody."""
        self.say(status)
        self._notifier.ready(status)

    def _stop(self) -> None:
        self._notifier.stopping()
        self.stop.set()

    def _spawn_reload(self) -> None:
        if not self.stop.is_set():
            self._spawn(self._read_again())

    async def _read_again(self) -> None:
        assert self._reload is not None
        async with self._reloading:
            self._notifier.reloading()
            try:
                status = await self._reload()
            except NetsloError as error:
                click.echo(f"{error}\nnetslo {self._name}: not reloaded, all goes on", err=True)
                self._notifier.ready("reload refused: " + str(error).partition("\n")[0])
            else:
                self.ready(status)

    async def _beat(self) -> None:
        while True:
            if self.healthy():
                self._notifier.beat()
            await asyncio.sleep(_BEAT_S)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        with suppress(asyncio.CancelledError):
            if (failure := task.exception()) is not None:
                raise failure  # a bug of ours: the loop's handler shows it
