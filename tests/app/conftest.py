"""Real commands as child processes, ended by their own pid whatever a test does."""

from __future__ import annotations

import os
import pathlib
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from ports import free_udp_port

COMMAND = [sys.executable, "-P", "-m", "netslo"]


class Service:
    """A running `netslo` command and what it prints."""

    def __init__(self, arguments: list[str], log: pathlib.Path) -> None:
        self.log = log
        self._file = log.open("ab")
        self.process = subprocess.Popen(
            [*COMMAND, *arguments],
            stdout=subprocess.PIPE,
            stderr=self._file,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        # Lines that come together are told apart by a reader, which may wait; a file cannot say
        # whether it holds another one.
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def wait_for(self, pattern: str, timeout_s: float = 200.0) -> re.Match[str]:
        """Return the match in the next line of standard output that has `pattern`."""
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0:
            try:
                line = self._lines.get(timeout=left)
            except queue.Empty:
                break
            if not line:
                break
            if match := re.search(pattern, line):
                return match
        raise AssertionError(f"no line with {pattern!r}; stderr: {self.log.read_text()[-2000:]}")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self, timeout_s: float = 120.0) -> int:
        """End it as a service manager does; return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def close(self) -> None:
        if self.process.poll() is None:
            self.kill()
        self._reader.join(60)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._file.close()


@pytest.fixture
def start(tmp_path: pathlib.Path) -> Iterator[Callable[..., Service]]:
    """Return a function which starts `netslo` with arguments as a service."""
    services: list[Service] = []

    def begin(*arguments: object) -> Service:
        log = tmp_path / f"service-{len(services)}.log"
        services.append(Service([str(argument) for argument in arguments], log))
        return services[-1]

    yield begin
    for service in services:
        service.close()


@pytest.fixture
def netslo() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function which runs `netslo` to its end."""

    def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            **options,
        )

    return run


@pytest.fixture
def estate_dir(tmp_path: pathlib.Path) -> pathlib.Path:
    """Return the folder of a small estate on loopback: two sites, one class, 20 packets/s."""
    directory = tmp_path / "estate"
    (directory / "slos").mkdir(parents=True)
    ports = [free_udp_port(), free_udp_port()]
    (directory / "estate.yaml").write_text(ESTATE.format(*ports))
    (directory / "slos" / "latency.yaml").write_text(SLO)
    return directory


ESTATE = """\
version: 1
name: two-sites
currency: GBP
classes:
  - {{name: ef, dscp: 46}}
probing: {{interval: 50ms, timeout: 500ms}}
sites:
  - name: london
    tier: national
    region: south
    residency_zone: gb-eng
    location: {{lat: 51.5074, lon: -0.1278}}
    addresses: ["127.0.0.1:{0}"]
  - name: edinburgh
    tier: national
    region: scotland
    residency_zone: gb-sct
    location: {{lat: 55.9533, lon: -3.1883}}
    addresses: ["127.0.0.1:{1}"]
links:
  - between: [london, edinburgh]
    capacity: 10Gbit/s
    cost_per_gigabyte: 0.01
"""

SLO = """\
apiVersion: openslo/v1
kind: SLO
metadata:
  name: latency
spec:
  service: backbone
  indicator:
    metadata:
      name: rtt
    spec:
      thresholdMetric:
        metricSource:
          type: netslo
          spec:
            metric: network.probe.rtt
  objectives:
    - op: lte
      value: 0.050
      target: 0.999
  budgetingMethod: Occurrences
"""
