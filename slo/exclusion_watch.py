"""The exclusions in force, read again whenever their log has grown. A companion of a collector."""

from __future__ import annotations

import logging
import pathlib
import threading
from collections.abc import Callable, Sequence
from typing import Final

from analytics.collector.server import Beside
from analytics.frame import Frame
from netslo.errors import ConfigurationError
from slo.exclusion import Exclusion
from slo.exclusion_log import in_force, load_exclusions, read_log, taken_back
from slo.objective import Objective

_LOOK_S: Final = 5.0

_log = logging.getLogger(__name__)

Listener = Callable[[Sequence[Exclusion]], None]


class ExclusionWatch:
    """Knows what is excluded, by the objectives' own documents and by the log beside the store.

    A log with a fault is said, and what was known before stays in force.

    Raises:
        ConfigurationError: the log has a fault at the start; with every fault of every line.
    """

    def __init__(self, file: pathlib.Path, objectives: Sequence[Objective]) -> None:
        self._file = file
        self._own = tuple(x for o in objectives for x in o.exclusions)
        self._listeners: list[Listener] = []
        self._seen = _state(file)
        entries = read_log(file)
        self._current = (*self._own, *in_force(entries))
        self.taken_back = taken_back(entries)  # what was over of them, as of the start
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="exclusions", daemon=True)

    def current(self) -> tuple[Exclusion, ...]:
        """Return all exclusions that nobody revoked, past, present and future."""
        return self._current

    def listen(self, listener: Listener) -> None:
        """Have `listener` told of every change, in a thread of ours."""
        self._listeners.append(listener)

    def start(self, beside: Beside) -> None:  # noqa: ARG002 - a companion
        self._thread.start()

    def note(self, frame: Frame) -> None:
        """Nothing: windows do not matter here."""

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def look(self) -> None:
        """Read the log if it has changed."""
        state = _state(self._file)
        if state == self._seen:
            return
        self._seen = state
        try:
            self._current = (*self._own, *load_exclusions(self._file))
        except ConfigurationError as error:
            _log.warning("exclusions stay as they were: %s", error)
            return
        for listener in self._listeners:
            listener(self._current)

    def _watch(self) -> None:
        while not self._stopping.wait(_LOOK_S):
            try:
                self.look()
            except Exception:  # noqa: BLE001 - a watch that ends would not be missed by anybody
                _log.exception("exclusions could not be read")


def _state(file: pathlib.Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
