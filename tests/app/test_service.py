"""Commands under a service manager: what they tell it, and SIGHUP in the midst of work."""

import json
import os
import pathlib
import re
import signal
import socket
import time
import urllib.request

import pytest
from ports import free_udp_port
from two_sites import estate


class Folder:
    """A configuration of two sites and a key."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.a, self.b = free_udp_port(), free_udp_port()
        (directory / "shared.key").write_bytes(b"k" * 32)
        (directory / "shared.key").chmod(0o600)
        self.write("50ms")

    def write(self, interval: str) -> None:
        text = estate(self.a, self.b, interval=interval, key_file="shared.key")
        (self.directory / "estate.yaml").write_text(text)


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


class Manager:
    """A service manager's end of the socket."""

    def __init__(self, path: pathlib.Path) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(str(path))
        self.sock.settimeout(200)

    def hears(self, state: str) -> str:
        """Wait until a state is told; return its message."""
        while True:
            message = self.sock.recv(4096).decode()
            if state in message.split("\n"):
                return message


@pytest.fixture
def manager(tmp_path, monkeypatch):
    manager = Manager(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    yield manager
    manager.sock.close()


@pytest.mark.waits
def test_a_probe_tells_its_manager_and_reloads(start, manager, folder):
    probe = start(
        "probe", "-c", folder.directory, "--site", "a", "--collector", "http://127.0.0.1:9"
    )
    assert "STATUS=measuring 1 paths from a" in manager.hears("READY=1")
    manager.hears("WATCHDOG=1")
    folder.write("20ms")
    probe.process.send_signal(signal.SIGHUP)
    assert re.search(r"\nMONOTONIC_USEC=\d+$", manager.hears("RELOADING=1"))
    assert "measuring 1 paths" in manager.hears("READY=1")
    folder.write("a while")
    probe.process.send_signal(signal.SIGHUP)
    manager.hears("RELOADING=1")
    assert "reload refused" in manager.hears("READY=1")
    (folder.directory / "shared.key").write_bytes(b"short")
    folder.write("20ms")
    probe.process.send_signal(signal.SIGHUP)
    manager.hears("RELOADING=1")
    assert "has a key of 5 octets" in manager.hears("READY=1")
    manager.hears("WATCHDOG=1")
    assert probe.stop(120) == 0  # it may have to compile first
    manager.hears("STOPPING=1")
    log = probe.log.read_text()
    assert "estate.yaml:6: probing.interval = a while: 'a while' is not a positive" in log
    assert log.count("netslo probe: not reloaded, all goes on") == 2
    assert "Traceback" not in log


def test_a_collector_tells_its_manager(start, manager, folder):
    collect = start("collect", "-c", folder.directory, "--listen", "127.0.0.1:0")
    assert "STATUS=listening on http://127.0.0.1:" in manager.hears("READY=1")
    manager.hears("WATCHDOG=1")
    assert collect.stop() == 0
    manager.hears("STOPPING=1")


def due(url: str) -> dict[str, float]:
    """Packets by path, as the collector publishes them."""
    text = urllib.request.urlopen(f"{url}/metrics").read().decode()
    found: dict[str, float] = {}
    pattern = re.compile(r"^network_probe_packets_total{(.*)} (\S+)$", re.MULTILINE)
    for labels, value in pattern.findall(text):
        path = re.search(r'path="([^"]*)"', labels)[1]
        found[path] = found.get(path, 0) + float(value)
    return found


@pytest.mark.waits
def test_up_passes_a_new_configuration_on_to_its_parts(start, folder):
    up = start(
        "up", "-c", folder.directory, "--listen", "127.0.0.1:0", "--site", "a", "--site", "b"
    )
    url = up.wait_for(r"(http://127\.0\.0\.1:\d+) ")[1]
    text = (folder.directory / "estate.yaml").read_text()
    site = text[text.index("  - name: b") :].replace("name: b", "name: c")
    port = free_udp_port()
    (folder.directory / "estate.yaml").write_text(text + site.replace(str(folder.b), str(port)))
    (folder.directory / "shared.key").write_bytes(b"another key: 16 octets and more")
    os.kill(up.process.pid, signal.SIGHUP)
    up.wait_for("reloaded: 6 paths, 0 objectives")
    deadline = time.monotonic() + 120
    while not {"a:b/be", "a:c/be", "b:c/be"} <= set(due(url)):
        assert time.monotonic() < deadline, due(url)
        time.sleep(0.5)
    folder.write("never")
    os.kill(up.process.pid, signal.SIGHUP)
    up.wait_for("is not a positive duration")
    up.wait_for("not reloaded, all goes on")
    assert up.stop(120) == 0
    assert "Traceback" not in up.log.read_text()


def slos(url: str) -> list[str]:
    with urllib.request.urlopen(f"{url}/api/v1/slos") as answer:
        return sorted({each["slo"] for each in json.load(answer)["slos"]})


def test_a_collector_goes_on_by_a_new_configuration_at_its_address(start, manager, estate_dir):
    collect = start("collect", "-c", estate_dir, "--listen", "127.0.0.1:0")
    url = re.search(r"http://\S+:\d+", manager.hears("READY=1"))[0]
    assert slos(url) == ["latency"]
    file = estate_dir / "slos" / "latency.yaml"
    good = file.read_text()
    file.write_text(good.replace("name: latency", "name: swift"))
    collect.process.send_signal(signal.SIGHUP)
    manager.hears("RELOADING=1")
    assert f"listening on {url}," in manager.hears("READY=1")
    assert slos(url) == ["swift"]
    file.write_text(good.replace("0.999", "1.5"))
    collect.process.send_signal(signal.SIGHUP)
    manager.hears("RELOADING=1")
    assert "reload refused" in manager.hears("READY=1")
    assert slos(url) == ["swift"]
    file.write_text(good)
    log_of_exclusions = estate_dir / "netslo-data" / "exclusions.jsonl"
    log_of_exclusions.write_text("{}\n")
    collect.process.send_signal(signal.SIGHUP)
    manager.hears("RELOADING=1")
    assert "exclusions.jsonl" in manager.hears("READY=1")
    log_of_exclusions.unlink()
    collect.process.send_signal(signal.SIGHUP)
    manager.hears("RELOADING=1")
    manager.hears("READY=1")
    assert slos(url) == ["latency"]
    assert collect.stop() == 0
    log = collect.log.read_text()
    assert "must be greater than 0 and less than 1" in log
    assert log.count("netslo collect: not reloaded, all goes on") == 2
    assert "Traceback" not in log
