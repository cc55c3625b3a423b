"""An engine in a thread of its own, for a person who waits and may have had enough."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol


class Stoppable(Protocol):
    """An engine that measures to its end, or until it is told to stop."""

    def run(self) -> object: ...

    def stop(self) -> None: ...


class EngineThread:
    """Runs an engine once."""

    def __init__(self, engine: Stoppable) -> None:
        self._engine = engine
        self._failure: BaseException | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="measure", daemon=True)

    def run(self, on_tick: Callable[[], None], tick_s: float) -> bool:
        """Run the engine to its end, calling `on_tick` meanwhile; whether it was ended early.

        KeyboardInterrupt tells it to stop, and what is under way is waited for; a second one does
        not wait. What the engine raises is raised here.
        """
        stopped = False
        self._thread.start()
        try:
            self._wait(on_tick, tick_s)
        except KeyboardInterrupt:
            stopped = True
            self._engine.stop()
            self._wait(on_tick, tick_s)
        if self._failure is not None:
            raise self._failure
        return stopped

    def _wait(self, on_tick: Callable[[], None], tick_s: float) -> None:
        # Not Thread.join: interrupted by a signal, CPython 3.11 takes the thread for ended.
        while not self._ended.wait(tick_s):
            on_tick()

    def _run(self) -> None:
        try:
            self._engine.run()
        except BaseException as error:  # noqa: BLE001 - it is raised again in the caller's thread
            self._failure = error
        finally:
            self._ended.set()
