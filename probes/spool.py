"""Batches which wait for the collector, on disk, in the order they were closed.

One file is one batch: an OTLP request compressed with zstd, the very octets of the HTTP body.
A batch is on stable storage when `put` returns, and stays until somebody removes it, through
restarts and power cuts. When the disk cannot take it, it waits in memory instead, and is
written later; when too much waits, the oldest goes first and is counted.
"""

from __future__ import annotations

import errno
import logging
import os
import pathlib
import re
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import zstandard

from netslo.errors import NetsloError
from probes.durable import TEMPORARY, claim, unlink_quietly, write_durably

BYTES_MAX: Final = 256 * 2**20
MEMORY_BYTES_MAX: Final = 16 * 2**20
PAYLOAD_BYTES_MAX: Final = 64 * 2**20  # what a corrupt frame may claim to hold
REFUSED_MAX: Final = 32  # refused batches kept for somebody to look at

_LEVEL: Final = 3  # 3 us per sketch; gzip at the same size takes 25
_INSTANCE: Final = re.compile(r"[A-Za-z0-9-]{1,64}\Z")
_FILE: Final = re.compile(r"(\d{16})-[A-Za-z0-9-]{1,64}-\d{1,20}\.otlp\.zst\Z")
_REASON: Final = ".reason.txt"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SpooledBatch:
    """One waiting batch. `body` is compressed: an HTTP body with content-encoding zstd."""

    name: str
    body: bytes


@dataclass(slots=True)
class _Entry:
    name: str
    size: int
    body: bytes | None  # None: on disk


class Spool:
    """A durable first-in, first-out queue of batches in a folder of its own.

    Every method may be called from any thread. As a context manager it closes itself.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        bytes_max: int = BYTES_MAX,
        *,
        memory_bytes_max: int = MEMORY_BYTES_MAX,
    ) -> None:
        """Open the folder, make it if need be, and take up what an earlier run left there.

        Args:
            directory: Used by one process at a time.
            bytes_max: How much may wait, compressed; beyond it the oldest batch is dropped.
            memory_bytes_max: How much of that may wait in memory while the disk refuses.

        Raises:
            NetsloError: the folder cannot be made, read or written, or is in use.
        """
        self._directory = directory
        self._bytes_max = bytes_max
        self._memory_bytes_max = memory_bytes_max
        self._lock = threading.Lock()
        self._on_put: Callable[[], None] | None = None
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
        self._decompressor = zstandard.ZstdDecompressor()
        self._descriptor: int | None = claim(directory)
        self._entries: dict[str, _Entry] = {}  # oldest first
        self._bytes = 0
        self._memory_bytes = 0
        self._ordinal = 0
        self._dropped = 0
        self._refused = 0
        self._write_failures = 0
        try:
            self._take_up_leftovers()
        except OSError as error:
            self.close()
            raise NetsloError(f"{directory}: spool folder: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def depth(self) -> int:
        """How many batches wait."""
        with self._lock:
            return len(self._entries)

    @property
    def bytes_waiting(self) -> int:
        """How much waits, compressed."""
        with self._lock:
            return self._bytes

    @property
    def dropped(self) -> int:
        """Batches given up for want of room, since the start."""
        return self._dropped

    @property
    def refused(self) -> int:
        """Batches set aside because they are damaged or nobody will take them, since the start."""
        return self._refused

    @property
    def write_failures(self) -> int:
        """How often the disk did not take a batch, since the start."""
        return self._write_failures

    def notify(self, callback: Callable[[], None] | None) -> None:
        """Call `callback` after each `put`, in the thread that puts; None: no longer."""
        self._on_put = callback

    def put(self, payload: bytes, *, instance_id: str, sequence: int) -> None:
        """Take a batch: an encoded OTLP request, not compressed.

        When this returns the batch survives a power cut, unless the disk refused it: then it
        waits in memory until the disk takes it, and `write_failures` has counted that.

        Raises:
            ValueError: the id is not 1 to 64 letters, digits and hyphens, or the sequence
                number is negative.
        """
        if not _INSTANCE.match(instance_id) or sequence < 0:
            raise ValueError(f"batch {instance_id!r} {sequence} cannot name a file")
        with self._lock:
            body = self._compressor.compress(payload)
            self._ordinal += 1
            name = f"{self._ordinal:016d}-{instance_id}-{sequence}.otlp.zst"
            self._entries[name] = _Entry(name, len(body), body)
            self._bytes += len(body)
            self._memory_bytes += len(body)
            self._save_what_is_in_memory()
            self._drop_beyond_limits()
        if self._on_put is not None:
            self._on_put()

    def oldest(self, left_out: Collection[str] = ()) -> SpooledBatch | None:
        """Return the batch that has waited longest, `left_out` apart; None when nothing waits.

        It keeps its place until `remove` or `refuse`. Damaged files are set aside on the way.

        Raises:
            OSError: the file cannot be read now, but perhaps later (too many open files).
        """
        with self._lock:
            for entry in list(self._entries.values()):
                if entry.name in left_out:
                    continue
                body = entry.body if entry.body is not None else self._read(entry)
                if body is not None:
                    return SpooledBatch(entry.name, body)
            return None

    def remove(self, name: str) -> None:
        """Let a delivered batch go. Of one that has gone already, nothing is left to do."""
        with self._lock:
            entry = self._entries.get(name)
            if entry is not None:
                self._delete(entry)

    def refuse(self, name: str, reason: str) -> None:
        """Set a batch aside which nobody will ever take; the latest stay in `refused/`."""
        with self._lock:
            entry = self._entries.get(name)
            if entry is not None:
                self._set_aside(entry, reason)

    def close(self) -> None:
        """Give the folder free. What waits in memory only gets a last chance to be written."""
        with self._lock:
            if self._descriptor is None:
                return
            self._save_what_is_in_memory()
            lost = sum(entry.body is not None for entry in self._entries.values())
            if lost:
                self._dropped += lost
                _log.error(
                    "%s: %d batches that waited in memory are lost: the disk does not take them",
                    self._directory,
                    lost,
                )
            os.close(self._descriptor)
            self._descriptor = None

    # Everything below is called with the lock held, or before anybody else has the object.

    def _take_up_leftovers(self) -> None:
        for name in sorted(entry.name for entry in self._directory.iterdir()):
            file = self._directory / name
            if name.endswith(TEMPORARY):
                file.unlink(missing_ok=True)
            elif match := _FILE.match(name):
                self._ordinal = max(self._ordinal, int(match[1]))
                entry = _Entry(name, file.stat().st_size, None)
                self._entries[name] = entry
                self._bytes += entry.size
                if not entry.size:
                    self._set_aside(entry, "empty")
        self._drop_beyond_limits()

    def _read(self, entry: _Entry) -> bytes | None:
        """Return the octets of a file; None when it is no good and has been set aside."""
        try:
            body = (self._directory / entry.name).read_bytes()
            self._verify(body)
        except FileNotFoundError:
            _log.warning("%s: %s has vanished", self._directory, entry.name)
            self._dropped += 1
            self._forget(entry)
        except zstandard.ZstdError as error:
            self._set_aside(entry, f"damaged: {error}")
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            self._set_aside(entry, "cannot be read from the disk")
        else:
            return body
        return None

    def _save_what_is_in_memory(self) -> None:
        """Write batches in their order, until the disk refuses one."""
        if not self._memory_bytes:
            return
        for entry in list(self._entries.values()):
            if entry.body is None:
                continue
            try:
                write_durably(self._directory, entry.name, entry.body)
            except OSError as error:
                self._write_failures += 1
                _log.warning(
                    "%s: %s; batches wait in memory", self._directory, error.strerror or error
                )
                return
            self._memory_bytes -= entry.size
            entry.body = None

    def _drop_beyond_limits(self) -> None:
        while self._bytes > self._bytes_max and len(self._entries) > 1:
            self._drop(next(iter(self._entries.values())))
        while self._memory_bytes > self._memory_bytes_max:
            self._drop(next(entry for entry in self._entries.values() if entry.body is not None))

    def _drop(self, entry: _Entry) -> None:
        _log.warning("%s: too much waits, %s is dropped", self._directory, entry.name)
        self._dropped += 1
        self._delete(entry)

    def _delete(self, entry: _Entry) -> None:
        self._forget(entry)
        if entry.body is None:
            unlink_quietly(self._directory / entry.name)

    def _forget(self, entry: _Entry) -> None:
        del self._entries[entry.name]
        self._bytes -= entry.size
        if entry.body is not None:
            self._memory_bytes -= entry.size

    def _set_aside(self, entry: _Entry, reason: str) -> None:
        _log.warning("%s: %s is set aside: %s", self._directory, entry.name, reason)
        self._refused += 1
        self._forget(entry)
        if entry.body is not None:
            return
        file, attic = self._directory / entry.name, self._directory / "refused"
        try:
            attic.mkdir(exist_ok=True)
            file.rename(attic / entry.name)
            (attic / (entry.name + _REASON)).write_text(reason + "\n")
            for old in sorted(_batch_names(attic))[:-REFUSED_MAX]:
                (attic / old).unlink(missing_ok=True)
                (attic / (old + _REASON)).unlink(missing_ok=True)
        except OSError:
            unlink_quietly(file)  # it must not come back at the next start

    def _verify(self, body: bytes) -> None:
        """Check the frame's checksum by decompressing it.

        Raises:
            zstandard.ZstdError: the body is not one whole frame of acceptable size.
        """
        size = zstandard.frame_content_size(body)
        if not 0 <= size <= PAYLOAD_BYTES_MAX:
            raise zstandard.ZstdError(f"frame claims {size} bytes")
        self._decompressor.decompress(body)


def _batch_names(directory: pathlib.Path) -> Iterator[str]:
    return (entry.name for entry in directory.iterdir() if _FILE.match(entry.name))
