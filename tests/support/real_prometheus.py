"""Prometheus and Alertmanager as Debian ships them, on free ports of loopback, for tests."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from ports import free_port

STARTUP_S = 120.0


def binary(*names: str) -> str:
    """Return the path of a program; skip where it is not, but never in CI."""
    for name in names:
        found = shutil.which(name)
        if found is not None:
            return found
    reason = f"{names[0]} is not installed (Debian: prometheus, prometheus-alertmanager)"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def run(program: str, *arguments: str | pathlib.Path) -> subprocess.CompletedProcess[str]:
    """Run a checker such as promtool; what it says is in the result."""
    return subprocess.run(
        [binary(program), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={"GOGC": "400", **os.environ},  # its heap is small: collected less often, a fifth less
    )


def wait_until(
    done: Callable[[], Any], what: str, patience_s: float = STARTUP_S, step_s: float = 0.1
) -> Any:
    """Return the first true answer; real servers take the time they take."""
    ends_s = time.monotonic() + patience_s
    while time.monotonic() < ends_s:
        found = done()
        if found:
            return found
        time.sleep(step_s)
    pytest.fail(f"waited {patience_s:g} s in vain: {what}")


@dataclass
class Server:
    """A running server of either kind."""

    url: str
    log: pathlib.Path
    process: subprocess.Popen[bytes]

    def get(self, path: str, **query: str) -> Any:
        whole = self.url + path + ("?" + urllib.parse.urlencode(query) if query else "")
        with urllib.request.urlopen(whole, timeout=120) as answer:
            return json.load(answer)

    def query(self, expression: str, time_s: float | None = None) -> list[dict[str, Any]]:
        """Return the result of an instant query."""
        at = {} if time_s is None else {"time": str(time_s)}
        return self.get("/api/v1/query", query=expression, **at)["data"]["result"]

    def value(self, expression: str, time_s: float | None = None) -> float | None:
        """Return the value of a query with at most one result."""
        found = self.query(expression, time_s)
        assert len(found) <= 1, found
        return float(found[0]["value"][1]) if found else None

    def ready(self) -> bool:
        if self.process.poll() is not None:
            pytest.fail(f"it ended: {self.log.read_text()[-2000:]}")
        try:
            with urllib.request.urlopen(self.url + "/-/ready", timeout=60) as answer:
                return answer.status == 200
        except OSError:
            return False


@contextmanager
def _served(
    arguments: Sequence[str], url: str, folder: pathlib.Path, name: str
) -> Iterator[Server]:
    log = folder / f"{name}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(arguments, cwd=folder, stdout=out, stderr=subprocess.STDOUT)
    try:
        server = Server(url, log, process)
        wait_until(server.ready, f"{name} is ready")
        yield server
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def prometheus(
    folder: pathlib.Path, config: dict[str, Any], *flags: str, port: int | None = None
) -> Iterator[Server]:
    """Run Prometheus with a configuration and its data in a folder."""
    port = port or free_port()
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    arguments = [
        binary("prometheus"),
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
        f"--web.listen-address=127.0.0.1:{port}",
        *flags,
    ]
    with _served(arguments, f"http://127.0.0.1:{port}", folder, "prometheus") as server:
        yield server


@contextmanager
def alertmanager(folder: pathlib.Path, config_file: pathlib.Path) -> Iterator[Server]:
    """Run Alertmanager, alone."""
    port = free_port()
    arguments = [
        binary("prometheus-alertmanager", "alertmanager"),
        f"--config.file={config_file}",
        "--storage.path=alertmanager",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    with _served(arguments, f"http://127.0.0.1:{port}", folder, "alertmanager") as server:
        yield server
