"""What children of a run do in tests; a module of its own, since a new process imports it."""

from __future__ import annotations

import asyncio
import os
import signal
import time

from netslo.errors import ConfigurationError


def say_pid(link) -> None:
    link.ready(os.getpid())
    link.stopped.wait()


def use_asyncio(link) -> None:
    async def run() -> None:
        stop = link.stop_event()
        link.ready("loop")
        await stop.wait()

    asyncio.run(run())


def double(link) -> None:
    link.answer_requests(lambda number: 2 * number)
    link.ready()
    link.stopped.wait()


def refuse(_link) -> None:
    raise ConfigurationError("the port is taken")


def vanish(_link) -> None:
    os._exit(3)


def ignore_everything(link) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    link.ready()
    time.sleep(600)
