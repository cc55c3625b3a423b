"""sd_notify against real datagram sockets, by path and by abstract name."""

import os
import socket
import time

import pytest

from netslo.notify import ALIVE_FILE, Notifier, alive_age_s


@pytest.fixture(params=["a path", "an abstract name"])
def manager(request, tmp_path):
    """A service manager's socket, and the variable that names it."""
    if request.param == "a path":
        name = address = str(tmp_path / "notify")
    else:
        name = f"@netslo-test-{os.getpid()}"
        address = "\0" + name[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(address)
        sock.settimeout(60)
        yield sock, {"NOTIFY_SOCKET": name}


def heard(sock) -> list[str]:
    return sock.recv(4096).decode().split("\n")


def test_every_state_is_told(manager) -> None:
    sock, environ = manager
    notifier = Notifier(environ, clock=lambda: 12_345_678_901)
    notifier.ready("measuring 16 paths")
    assert heard(sock) == ["READY=1", "STATUS=measuring 16 paths"]
    notifier.reloading()
    assert heard(sock) == ["RELOADING=1", "MONOTONIC_USEC=12345678"]
    notifier.ready()
    assert heard(sock) == ["READY=1"]
    notifier.status("two\nlines")
    assert heard(sock) == ["STATUS=two lines"]
    notifier.stopping()
    assert heard(sock) == ["STOPPING=1"]


def test_the_time_of_a_reload_is_that_of_the_monotonic_clock(manager) -> None:
    sock, environ = manager
    Notifier(environ).reloading()
    told_us = int(heard(sock)[1].removeprefix("MONOTONIC_USEC="))
    assert abs(told_us - time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000) < 60_000_000


def test_the_watchdog_hears_a_beat_in_each_third_of_its_patience(manager) -> None:
    sock, environ = manager
    now = [0]
    environ |= {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}
    notifier = Notifier(environ, clock=lambda: now[0])
    assert notifier.beat_s == pytest.approx(10)
    sock.setblocking(False)
    beats = 0
    for second in range(61):
        now[0] = second * 10**9
        notifier.beat()
        try:
            beats += heard(sock) == ["WATCHDOG=1"]
        except BlockingIOError:
            continue
    assert beats == 6


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"},
    ],
    ids=["no watchdog", "no patience", "no number", "another's watchdog"],
)
def test_nobody_beats_unasked(environ) -> None:
    assert Notifier(environ).beat_s is None


@pytest.mark.parametrize("name", ["", "@", "vsock:2:1234", "relative", "/nowhere/at/all"])
def test_a_manager_that_is_not_there_is_no_error(name) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": name})
    notifier.ready("anything")
    notifier.stopping()


def test_a_manager_that_does_not_read_is_not_waited_for(manager) -> None:
    _, environ = manager
    notifier = Notifier(environ)
    for _ in range(10_000):  # more than any socket's queue
        notifier.status("x" * 1000)


def test_where_nobody_listens_a_file_has_the_beat(tmp_path) -> None:
    file, now = tmp_path / "alive", [5_000_000_000]
    notifier = Notifier({ALIVE_FILE: str(file)}, clock=lambda: now[0])
    assert alive_age_s(str(file)) is None
    for _ in range(4):
        notifier.beat()
        now[0] += 300_000_000
    assert alive_age_s(str(file), lambda: now[0]) == pytest.approx(1.2)  # once a second
    notifier.beat()
    assert alive_age_s(str(file), lambda: now[0] + 2_000_000_000) == pytest.approx(2.0)
    assert file.stat().st_size == 21


@pytest.mark.parametrize(
    "octets", [b"", b"soon", b"-1", "\uff11\uff12".encode(), b"9" * 30, b"\xff\xfe"]
)
def test_a_file_without_a_beat_is_none(tmp_path, octets) -> None:
    file = tmp_path / "alive"
    file.write_bytes(octets)
    assert alive_age_s(str(file)) is None  # also one of another boot: it lies ahead


def test_a_beat_that_cannot_be_written_harms_nobody(tmp_path) -> None:
    Notifier({ALIVE_FILE: str(tmp_path / "no" / "folder")}).beat()
    Notifier({ALIVE_FILE: str(tmp_path)}).beat()
