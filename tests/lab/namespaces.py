"""Network namespaces as context managers, and wires between them. Needs root and iproute2."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import ipaddress
import os
import pathlib
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Self

_PREFIX: Final = "netslo"
_NAMES = pathlib.Path("/run/netns")
_CLONE_NEWNET: Final = 0x40000000
_COMMAND_TIMEOUT_S: Final = 30.0
_END_TIMEOUT_S: Final = 1.0
_UP_TIMEOUT_S: Final = 5.0
_SEARCH_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))

_libc = ctypes.CDLL(None, use_errno=True)


def tool(name: str) -> str:
    """Return where a program is, also where the search path leaves out the system's own.

    Raises:
        FileNotFoundError: it is not installed.
    """
    found = shutil.which(name, path=_SEARCH_PATH)
    if found is None:
        raise FileNotFoundError(f"no {name!r} command")
    return found


def execute(
    *command: str, timeout_s: float = _COMMAND_TIMEOUT_S, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and return what it printed.

    Raises:
        RuntimeError: it failed; the text is its standard error. Not with `check=False`.
        subprocess.TimeoutExpired: it took longer; it was killed.
    """
    done = subprocess.run(
        [tool(command[0]), *command[1:]],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command)}: status {done.returncode}: {done.stderr.strip()}")
    return done


@functools.cache
def available() -> str | None:
    """Return why namespaces cannot be made here; None when they can."""
    if os.geteuid() != 0:
        return "not root"
    try:
        with Namespace("check") as trial:
            trial.run("ip", "link", "show", "lo")
    except (OSError, RuntimeError, subprocess.SubprocessError) as problem:
        return f"no network namespaces: {problem}"
    return None


class Namespace:
    """A network namespace with its loopback up, from `with` to the end of the block.

    Every process that runs in it ends with it, whether it was started here or by a process that
    was. The full name, `netslo-<pid>-<start>-<name>`, says whose it is: the number of a process is
    given again to others, but not with the time at which it began.
    """

    def __init__(self, name: str) -> None:
        self.name = f"{_own_prefix()}{name}"
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        execute("ip", "netns", "add", self.name)
        try:
            self.ip("link", "set", "lo", "up")
            if self.sysctl("net.ipv6.conf.all.disable_ipv6") == "1":
                self.set_sysctl("net.ipv6.conf.all.disable_ipv6", 0)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Namespace({self.name})"

    def ip(self, *arguments: str) -> None:
        """Run `ip` on the namespace: `ns.ip("link", "set", "lo", "up")`."""
        execute("ip", "-n", self.name, *arguments)

    def run(
        self, *command: str, timeout_s: float = _COMMAND_TIMEOUT_S, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside to its end, as `execute` does."""
        inside = ("ip", "netns", "exec", self.name, *command)
        return execute(*inside, timeout_s=timeout_s, check=check)

    def popen(self, *command: str, **options: Any) -> subprocess.Popen[str]:
        """Start a command inside; it has the pid returned and ends with the namespace.

        Args:
            command: The program and its arguments.
            options: For `subprocess.Popen`.
        """
        inside = [tool("ip"), "netns", "exec", self.name, *command]
        process: subprocess.Popen[str] = subprocess.Popen(inside, text=True, **options)
        self._processes.append(process)
        return process

    def inside(self) -> contextlib.AbstractContextManager[None]:
        """Move the calling thread into the namespace for the block, and back.

        A socket belongs for ever to the namespace in which it was opened, so a test opens its
        sockets in here and uses them anywhere. Other threads stay where they are; threads and
        processes started in the block start inside.
        """
        return entered(self.name)

    def sysctl(self, name: str) -> str:
        """Return a setting such as `net.ipv4.ip_forward`."""
        with self.inside():
            return _sysctl_file(name).read_text().strip()

    def set_sysctl(self, name: str, value: object) -> None:
        """Change a setting of this namespace."""
        with self.inside():
            _sysctl_file(name).write_text(str(value))

    def pids(self) -> list[int]:
        """Return the processes inside; this one is not counted when a thread of it is there."""
        listed = execute("ip", "netns", "pids", self.name, check=False).stdout.split()
        return [int(pid) for pid in listed if int(pid) != os.getpid()]

    def close(self) -> None:
        """End the processes inside and remove the namespace; more than once does no harm."""
        for process in self._processes:
            _end(process)
        self._processes.clear()
        self._end_descendants()
        if (_NAMES / self.name).exists():
            execute("ip", "netns", "del", self.name)

    def _end_descendants(self) -> None:
        """End what our processes left behind: first asked to, then killed."""
        for request in (signal.SIGTERM, signal.SIGKILL):
            for pid in self.pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, request)
            deadline = time.monotonic() + _END_TIMEOUT_S
            while self.pids():
                if time.monotonic() > deadline:
                    break
                time.sleep(0.02)
            else:
                return


@contextlib.contextmanager
def entered(name: str) -> Iterator[None]:
    """Move the calling thread into a namespace of this full name for the block, and back."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        away = os.open(_NAMES / name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(away)
        finally:
            os.close(away)
        try:
            yield
        finally:
            _enter(home)
    finally:
        os.close(home)


@dataclass(frozen=True, slots=True)
class End:
    """One end of a link: the device in its namespace, and its addresses without prefix length."""

    namespace: Namespace
    device: str
    address4: str
    address6: str

    def address(self, version: int) -> str:
        """Return the address of IP version 4 or 6."""
        return {4: self.address4, 6: self.address6}[version]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two namespaces which reach each other directly."""

    a: End
    b: End


def veth(
    a: Namespace,
    b: Namespace,
    subnet4: str = "10.77.0.0/30",
    subnet6: str = "fd00:77::/64",
    device: str = "veth0",
) -> Pair:
    """Join two namespaces by a wire of that device name in both; it ends with either of them.

    Args:
        a: Gets the first host address of each subnet.
        b: Gets the second.
        subnet4: With its prefix length, as subnet6.
        subnet6: Its addresses are usable at once, without detection of duplicates.
        device: At most 15 characters, and new in both namespaces.
    """
    peer = ("peer", "name", device, "netns", b.name)
    execute("ip", "link", "add", device, "netns", a.name, "type", "veth", *peer)
    return set_up(a, b, subnet4, subnet6, device)


def set_up(a: Namespace, b: Namespace, subnet4: str, subnet6: str, device: str) -> Pair:
    """Give the devices of that name in both namespaces their addresses, and set them up."""
    ends = []
    for place, namespace in enumerate((a, b)):
        addresses = []
        for subnet in (subnet4, subnet6):
            network = ipaddress.ip_network(subnet)
            address = network[1 + place]
            addresses.append(str(address))
            flags = ("nodad",) if network.version == 6 else ()
            cidr = f"{address}/{network.prefixlen}"
            namespace.ip("addr", "add", cidr, "dev", device, *flags)
        namespace.ip("link", "set", device, "up")
        ends.append(End(namespace, device, *addresses))
    for end in ends:
        _wait_until_up(end)
    return Pair(*ends)


def _wait_until_up(end: End) -> None:
    """Wait for the kernel to have noticed the carrier: until then a device drops what it gets."""
    deadline = time.monotonic() + _UP_TIMEOUT_S
    while True:
        shown = execute("ip", "-n", end.namespace.name, "-o", "link", "show", end.device).stdout
        if " state UP " in shown or (" state UNKNOWN " in shown and "LOWER_UP" in shown):
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"{end.device} does not come up: {shown}")
        time.sleep(0.005)


def shape(
    namespace: Namespace, device: str, rate_bit_s: int, burst_bytes: int, latency_s: float
) -> None:
    """Limit what a device sends by a token bucket; once more replaces the former limit.

    Args:
        namespace: Where the device is.
        device: Its name.
        rate_bit_s: Rate of whole frames, in bit/s.
        burst_bytes: What may pass at once after a pause; at least one frame.
        latency_s: How long a packet waits at most before it is dropped instead.
    """
    bucket = ("rate", f"{rate_bit_s}bit", "burst", f"{burst_bytes}b")
    wait = ("latency", f"{round(latency_s * 1e6)}us")
    qdisc = ("tc", "-n", namespace.name, "qdisc", "replace", "dev", device, "root", "tbf")
    execute(*qdisc, *bucket, *wait)


def names() -> set[str]:
    """Return the namespaces that this process has at the moment."""
    return {path.name for path in _NAMES.glob(_own_prefix() + "*")}


def sweep() -> None:
    """Remove namespaces left by runs of the laboratory whose process is gone."""
    for path in _NAMES.glob(_PREFIX + "-*-*-*"):
        pid, began = path.name.split("-")[1:3]
        if pid.isdecimal() and began.isdecimal() and began != _began(pid):
            execute("ip", "netns", "del", path.name, check=False)


def _own_prefix() -> str:
    return f"{_PREFIX}-{os.getpid()}-{_began(os.getpid())}-"


def _began(pid: int | str) -> str | None:
    """Return when a process began, in ticks since the host did (proc(5)); None if it is gone."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return stat.rpartition(")")[2].split()[19]


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"setns: {os.strerror(error)}")


def _sysctl_file(name: str) -> pathlib.Path:
    return pathlib.Path("/proc/sys", *name.split("."))


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):
                stream.close()
