"""Where a run is shown: a live table on a terminal, plain lines anywhere else."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.live import Live

from dashboards.terminal import plain_lines, render
from netslo.app.watch import Watch

_PLAIN_EVERY_S: Final = 10.0


class Screen:
    """A context manager which draws a watch's view at every call of `draw`."""

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title
        self._live = (
            Live(console=console, auto_refresh=False, screen=False, transient=False)
            if console.is_terminal
            else None
        )
        self._plain_due_s = 0.0
        self._log_printed = 0

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def draw(self, watch: Watch, now_s: float, ends_s: float | None, log: Sequence[str]) -> None:
        """Show the state of `watch` at `now_s`, and the lines of `log` that are new."""
        view = watch.view(self._title, now_s, ends_s, log)
        if self._live is not None:
            size = self._console.size
            self._live.update(render(view, height=size.height, width=size.width), refresh=True)
            return
        for line in log[self._log_printed :]:
            self._print(line)
        self._log_printed = len(log)
        if now_s >= self._plain_due_s:
            self._plain_due_s = now_s + _PLAIN_EVERY_S
            for line in plain_lines(view):
                self._print(line)

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)
