"""How much of a file there is to read, and how much was: what a progress bar shows."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TextIO, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class Extent:
    """Octets, rows or values, as the file has them; `total` is None where nobody knows."""

    total: int | None = None
    done: int = 0

    def follow(self, stream: TextIO, parts: Iterable[T]) -> Iterator[T]:
        """Pass on what is read from a stream, and keep up how many octets were."""
        octets = stream.buffer
        with suppress(OSError):  # a stream of no file
            about = os.fstat(stream.fileno())
            self.total = about.st_size if stat.S_ISREG(about.st_mode) else None
        for part in parts:
            if self.total is not None:  # a pipe has no place to be at
                self.done = octets.tell()
            yield part
