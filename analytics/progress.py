"""How far a long command has come, for a person who looks at a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

from analytics.extent import Extent

T = TypeVar("T")

_PATIENCE_S: Final = 1.0


def counted(parts: Iterable[T], size: Callable[[T], int], extent: Extent) -> Iterator[T]:
    """Pass parts on; after a second, say on a terminal how many values have passed.

    And what fraction of all that is, and how long the rest may take, where the extent is known.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        yield from parts
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    began_s, done = time.monotonic(), 0
    progress = Progress(*columns, console=Console(stderr=True), transient=True)
    task = progress.add_task("", total=None)
    started = False
    try:
        for part in parts:
            yield part
            done += size(part)
            passed_s = time.monotonic() - began_s
            if not started and passed_s > _PATIENCE_S:
                progress.start()
                started = True
            rate = done / max(passed_s, 1e-9) / 1e6
            said = f"{done:,} values, {rate:.1f} million/s"
            progress.update(task, description=said, total=extent.total, completed=extent.done)
    finally:
        if started:
            progress.stop()
