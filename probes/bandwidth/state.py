"""The state directory of a site: what its shells, its agent and its server must agree on."""

from __future__ import annotations

import errno
import fcntl
import os
import pathlib
import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Final

from netslo.errors import ConfigurationError, NetsloError
from probes.durable import TEMPORARY, replace_durably, unlink_quietly

VARIABLE: Final = "NETSLO_STATE"
_SYSTEM: Final = pathlib.Path("/var/lib/netslo")
_LOCK: Final = "lock"
_ID: Final = "id"
_LOCK_WAIT_S: Final = 5.0
_LOCK_LOOK_S: Final = 0.01
_BYTES_MAX: Final = 4 << 20
LEASES_FILE: Final = "leases.json"
NEW: Final = b"{}"  # what that file holds before anything was leased: if it has gone, it is lost


def default_state_directory() -> pathlib.Path:
    """Return where the state of this host is kept, if nobody says.

    The folder that the environment names, or the system's where this user may write, or the
    user's own.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return pathlib.Path(named)
    if os.access(_SYSTEM, os.W_OK | os.X_OK) or (
        not _SYSTEM.exists() and os.access(_SYSTEM.parent, os.W_OK | os.X_OK)
    ):
        return _SYSTEM
    home = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return pathlib.Path(home).expanduser() / "netslo"


def state_directories(sites: Collection[str], directory: pathlib.Path) -> dict[str, pathlib.Path]:
    """Return the state directory of each site of a host: of several, each has one inside."""
    if len(sites) == 1:
        return dict.fromkeys(sites, directory)
    return {site: directory / site for site in sites}


class StateDirectory:
    """A folder of small files that several processes of one host change in turn.

    Every process that uses it must run on the same host: its leases are counted by that clock.
    """

    def __init__(self, directory: pathlib.Path) -> None:
        """Make the folder, if need be.

        Raises:
            ConfigurationError: it cannot be made or written.
            NetsloError: another process holds it, or it cannot be read.
        """
        self.directory = directory
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self.locked():
                self.id = self._identify()
        except OSError as error:
            raise ConfigurationError(f"{directory}: state folder: {error.strerror}") from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other process and thread out meanwhile.

        Raises:
            ConfigurationError: it is not writable, or gone.
            NetsloError: somebody does not let go of it.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        try:
            descriptor = os.open(self.directory / _LOCK, flags, 0o600)
        except OSError as error:
            raise ConfigurationError(f"{self.directory}: state folder: {error.strerror}") from error
        try:
            self._lock(descriptor)
            yield
        finally:
            os.close(descriptor)  # which unlocks it

    def read(self, name: str) -> bytes | None:
        """Return the octets of a file, at most so many; None when there is no such file.

        Raises:
            NetsloError: it cannot be read.
        """
        try:
            with (self.directory / name).open("rb") as stream:
                return stream.read(_BYTES_MAX)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise NetsloError(f"{self.directory / name}: {error.strerror}") from error

    def replace(self, name: str, body: bytes, *, durably: bool = False) -> None:
        """Put a whole new file in the place of one, with the lock held.

        A crash of the process leaves the old one or the new one, a power cut also, if `durably`.

        Raises:
            NetsloError: the disk does not take it; the old one is still there.
        """
        file, temporary = self.directory / name, self.directory / (name + TEMPORARY)
        try:
            unlink_quietly(temporary)  # of somebody who was killed
            if durably:
                replace_durably(self.directory, name, body)
                return
            temporary.write_bytes(body)
            stamp_ns = time.time_ns()  # files of one tick of the kernel's clock differ, too
            os.utime(temporary, ns=(stamp_ns, stamp_ns))
            temporary.rename(file)
        except OSError as error:
            unlink_quietly(temporary)
            raise NetsloError(f"{file}: cannot be written: {error.strerror}") from error

    def _lock(self, descriptor: int) -> None:
        ends_s = time.monotonic() + _LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
                    raise
                if time.monotonic() >= ends_s:
                    raise NetsloError(
                        f"{self.directory}: another process has held its lock for "
                        f"{_LOCK_WAIT_S:g} s; is it stopped?"
                    ) from error
                time.sleep(_LOCK_LOOK_S)
            else:
                return

    def _identify(self) -> str:
        """Return the folder's own name for itself, which it keeps."""
        known = self.read(_ID)
        if known is not None and (text := known.decode("ascii", "replace").strip()):
            return text
        text = uuid.uuid4().hex
        self.replace(LEASES_FILE, NEW, durably=True)
        self.replace(_ID, text.encode(), durably=True)
        return text
