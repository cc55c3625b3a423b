"""Network namespaces without a name: gone with the process that made them, however it ends.

A namespace lives as long as something holds it: here one process, by a descriptor each, and what it
starts inside. Without root the process first takes a user namespace, in which it is root over its
own networks only (user_namespaces(7)).
"""

from __future__ import annotations

import ctypes
import errno
import os
import pathlib
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Final, Self, TypeVar

from netslo.errors import NetsloError

T = TypeVar("T")

_CLONE_NEWUSER: Final = 0x1000_0000  # <linux/sched.h>
_CLONE_NEWNET: Final = 0x4000_0000
_NEEDED: Final = (1 << 12) | (1 << 13) | (1 << 21)  # CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN
_COMMAND_TIMEOUT_S: Final = 20.0
_SEARCH_PATH: Final = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))

_libc = ctypes.CDLL(None, use_errno=True)


class NoNamespaces(NetsloError):
    """This host, or this user, cannot have networks of its own; the message says why."""


class Namespaces:
    """Namespaces of this process by name. As a context manager it lets go of them.

    One thread goes from namespace to namespace; every other stays where the process began, so
    that one process has sockets in all of them and on the host. Whatever `inside` starts is a
    child of that thread, which lives as long as this object.

    Raises:
        NoNamespaces: they cannot be had.
    """

    def __init__(self) -> None:
        self._descriptors: dict[str, int] = {}
        self._programs = {name: _program(name) for name in ("ip", "tc")}
        _become_root()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="namespaces")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.shutdown()
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()

    def add(self, name: str, sysctls: Mapping[str, int]) -> None:
        """Make a namespace with its loopback up and these settings, which its devices will have.

        Raises:
            NoNamespaces: it cannot be made.
        """
        try:
            self._descriptors[name] = self._thread.submit(_new_namespace).result()
            self.inside(name, lambda: _set(sysctls))
        except OSError as error:
            raise NoNamespaces(f"no network namespace: {_reason(error)}") from error
        self.ip(name, ["link set lo up"])

    def wire(self, a: str, device_a: str, b: str, device_b: str) -> None:
        """Join two namespaces by a pair of devices (veth(4))."""
        there = self._descriptors[b]
        peer = f"peer name {device_b} netns /proc/self/fd/{there}"
        self.ip(a, [f"link add {device_a} type veth {peer}"], keep=(there,))

    def ip(self, name: str, commands: Iterable[str], keep: tuple[int, ...] = ()) -> None:
        """Give commands to `ip` inside a namespace.

        Raises:
            NoNamespaces: one fails; it says which.
        """
        self._batch(name, "ip", commands, keep)

    def tc(self, name: str, commands: Iterable[str]) -> None:
        """Give commands to `tc` inside a namespace.

        Raises:
            NoNamespaces: one fails; it says which.
        """
        self._batch(name, "tc", commands, ())

    def inside(self, name: str, work: Callable[[], T]) -> T:
        """Do something in a namespace: its sockets and processes stay there for good."""
        descriptor = self._descriptors[name]

        def enter_and_work() -> T:
            _call("setns", descriptor, _CLONE_NEWNET)
            return work()

        return self._thread.submit(enter_and_work).result()

    def _batch(
        self, name: str, program: str, commands: Iterable[str], keep: tuple[int, ...]
    ) -> None:
        given = tuple(commands)
        self.inside(name, lambda: _execute(self._programs[program], given, keep))


def _program(name: str) -> str:
    found = shutil.which(name, path=_SEARCH_PATH)
    if found is None:
        raise NoNamespaces(f"no {name!r} command here; it is of iproute2")
    return found


def _become_root() -> None:
    """Have the rights over networks of our own, by root or by a user namespace."""
    if _effective_capabilities() & _NEEDED == _NEEDED:
        return
    user, group = os.geteuid(), os.getegid()
    try:
        _call("unshare", _CLONE_NEWUSER)
        # Groups may be mapped once setgroups(2) is given up.
        for file, text in {
            "setgroups": "deny",
            "uid_map": f"0 {user} 1",
            "gid_map": f"0 {group} 1",
        }.items():
            pathlib.Path("/proc/self", file).write_text(text)
    except OSError as error:
        raise NoNamespaces(
            f"not root, and no user namespace is granted: {_reason(error)}"
        ) from error


def _effective_capabilities() -> int:
    status = pathlib.Path("/proc/self/status").read_text()
    return next(int(line.split()[1], 16) for line in status.splitlines() if line[:7] == "CapEff:")


def _new_namespace() -> int:
    """Leave the calling thread in a new network namespace, and return what holds it."""
    _call("unshare", _CLONE_NEWNET)
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _set(sysctls: Mapping[str, int]) -> None:
    for name, value in sysctls.items():
        pathlib.Path("/proc/sys", *name.split(".")).write_text(str(value))


def _execute(program: str, commands: tuple[str, ...], keep: tuple[int, ...]) -> None:
    """Have a program of iproute2 obey commands, up to the first that fails."""
    try:
        done = subprocess.run(
            [program, "-batch", "-"],
            input="\n".join(commands) + "\n",
            capture_output=True,
            text=True,
            timeout=_COMMAND_TIMEOUT_S,
            check=False,
            pass_fds=keep,
        )
    except subprocess.TimeoutExpired as error:
        raise NoNamespaces(f"{program} does not come to an end") from error
    if done.returncode:
        said = done.stderr.strip().replace("\n", "; ") or f"status {done.returncode}"
        raise NoNamespaces(f"{program}: {said}, of: {', '.join(commands)}")


def _call(function: str, *arguments: int) -> None:
    if getattr(_libc, function)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), function)


def _reason(error: OSError) -> str:
    if error.errno == errno.ENOSPC:  # so says unshare(2) of a sysctl, user.max_*_namespaces
        return f"{error.filename}: this host grants no further namespace"
    return f"{error.filename}: {error.strerror}"
