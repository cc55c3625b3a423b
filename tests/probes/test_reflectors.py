"""Reflectors by key, changed while they run; and the command around them."""

import os
import pathlib
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from ports import free_udp_port

from netslo.errors import ConfigurationError, NetsloError
from netslo.model import Endpoint
from probes.instant import read_clocks
from probes.reflector import RATE_LIMITED
from probes.reflectors import Reflectors, Station
from probes.stamp.events import Replied
from probes.stamp.rate_limit import RateLimit
from probes.stamp.sender import Sender

ANY = Endpoint("127.0.0.1", 0)
KEYS = (None, b"a" * 16, b"b" * 16)


def free_endpoint() -> Endpoint:
    return Endpoint("127.0.0.1", free_udp_port())


def answers(endpoint: Endpoint, key: bytes | None, wait_s=60.0) -> bool:
    """Whether one test packet comes back, by our own sender."""
    sender = Sender(10**9, key=key)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(wait_s)
        sock.connect((endpoint.host, endpoint.port))
        try:
            sock.send(sender.send(read_clocks()))
            return isinstance(sender.receive(sock.recv(2000), read_clocks()), Replied)
        except (TimeoutError, ConnectionRefusedError):
            return False


def until(condition) -> None:
    """Wait for what a reflector counts, which is a moment after its reply has left."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def reflectors():
    reflectors = Reflectors()
    yield reflectors
    reflectors.end()


def test_each_station_answers_by_its_own_key(reflectors):
    reflectors.arrange(Station(ANY, key) for key in KEYS)
    for endpoint, key in zip(reflectors.endpoints, KEYS, strict=True):
        assert answers(endpoint, key)
    assert not answers(reflectors.endpoints[1], KEYS[2], wait_s=0.2)
    assert not answers(reflectors.endpoints[1], None, wait_s=0.2)
    reflectors.check()
    until(lambda: reflectors.reflected == 3 and reflectors.discarded.total() == 2)
    reflectors.end()
    assert reflectors.reflected == 3
    assert reflectors.discarded.total() == 2


def test_a_key_changes_while_the_others_go_on(reflectors):
    first, second = free_endpoint(), free_endpoint()
    reflectors.arrange([Station(first), Station(second, KEYS[1])])
    assert answers(second, KEYS[1])
    untouched = next(iter(reflectors._running.values()))
    reflectors.arrange([Station(first), Station(second, KEYS[2])])
    assert next(iter(reflectors._running.values())) is untouched
    assert answers(second, KEYS[2])
    assert answers(first, None)
    assert not answers(second, KEYS[1], wait_s=0.2)
    until(lambda: reflectors.reflected == 3 and reflectors.discarded.total() == 1)


def test_what_cannot_be_bound_leaves_all_as_it_was(reflectors):
    first = free_endpoint()
    reflectors.arrange([Station(first, KEYS[1])])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(NetsloError, match="the port is taken"):
            reflectors.arrange([Station(first), Station(Endpoint(*taken.getsockname()), KEYS[2])])
    assert answers(first, KEYS[1])
    with pytest.raises(ConfigurationError, match=r"cannot listen on no\.such\.invalid:862"):
        reflectors.arrange([Station(Endpoint("no.such.invalid", 862))])
    assert answers(first, KEYS[1])


def test_a_source_that_sends_more_than_it_may_is_not_answered():
    reflectors = Reflectors(rate_limit=RateLimit(0.001, 2))
    reflectors.arrange([Station(ANY)])
    (endpoint,) = reflectors.endpoints
    assert [answers(endpoint, None, wait_s) for wait_s in (60, 60, 0.2)] == [True, True, False]
    until(lambda: reflectors.discarded.total() == 1)
    reflectors.end()
    assert reflectors.discarded == {RATE_LIMITED: 1}


def test_the_key_is_in_no_message():
    assert "aaaa" not in repr(Station(ANY, KEYS[1]))


class Command:
    """`netslo reflect` as a process, and a service manager that listens to it."""

    def __init__(self, tmp_path: pathlib.Path, *arguments: str) -> None:
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(str(tmp_path / "notify"))
        self.manager.settimeout(60)
        environ = os.environ | {
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "WATCHDOG_USEC": "1500000",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "netslo", "reflect", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environ,
            text=True,
        )
        self.lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.put(line.rstrip())

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.wait()
        self._reading.join()
        self.process.stdout.close()
        self.manager.close()

    def says(self, pattern: str) -> re.Match[str]:
        while True:
            line = self.lines.get(timeout=60)
            if found := re.search(pattern, line):
                return found

    def tells(self, state: str) -> list[str]:
        """Wait until the manager is told a state; return the whole message."""
        while True:
            lines = self.manager.recv(4096).decode().split("\n")
            if state in lines:
                return lines

    def hang_up(self) -> None:
        self.process.send_signal(signal.SIGHUP)


def test_the_command_takes_a_new_key_and_refuses_a_bad_one(tmp_path):
    key_file = tmp_path / "key"
    key_file.write_bytes(KEYS[1])
    key_file.chmod(0o600)
    options = ["--listen", str(free_endpoint()), "--key-file", str(key_file)]
    with Command(tmp_path, *options, "--summary", "500ms") as command:
        found = command.says(r"answering STAMP on (.*):(\d+), UDP, authenticated packets only")
        endpoint = Endpoint(found[1], int(found[2]))
        command.tells("READY=1")
        command.tells("WATCHDOG=1")
        assert answers(endpoint, KEYS[1])
        key_file.write_bytes(KEYS[2] + b"\n")
        command.hang_up()
        assert any(x.startswith("MONOTONIC_USEC=") for x in command.tells("RELOADING=1"))
        command.tells("READY=1")
        command.says("reloaded")
        assert answers(endpoint, KEYS[2])
        key_file.write_bytes(b"short")
        command.hang_up()
        assert command.says("not reloaded, all goes on: (.*)")[1].endswith(
            "has a key of 5 octets; expected 16 to 4096"
        )
        command.tells("READY=1")
        assert answers(endpoint, KEYS[2])
        command.says("^3 packets answered, 0 discarded")
        command.process.send_signal(signal.SIGTERM)
        command.tells("STOPPING=1")
        assert command.process.wait(60) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--key-file", "no-such-key"], "no-such-key: the key cannot be read: No such file"),
        (["--rate", "0"], "'--rate'"),
        (["--burst", "0"], "'--burst'"),
        (["--summary", "1"], "'1' is not a positive duration"),
        (["--listen", "127.0.0.1:99999"], "port 99999, expected 0 to 65535"),
    ],
)
def test_what_is_wrong_with_an_option_is_said(options, message):
    listen = [] if "--listen" in options else ["--listen", "127.0.0.1:0"]
    done = subprocess.run(
        [sys.executable, "-m", "netslo", "reflect", *listen, *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
