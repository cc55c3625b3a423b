"""The demo's page comes through real Prometheus and Alertmanager, and they end with the demo."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from processes import pids_of_group, wait_gone
from real_prometheus import binary

DURATION_S = 100

pytestmark = pytest.mark.timeout(DURATION_S + 150)


def begin(tmp_path: pathlib.Path, *arguments: str) -> subprocess.Popen[str]:
    binary("prometheus")
    binary("prometheus-alertmanager", "alertmanager")
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "netslo", "demo", "--prometheus", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"},
    )


def test_the_incident_pages_through_both(tmp_path) -> None:
    state_file = tmp_path / "state.json"
    arguments = ("--duration", str(DURATION_S), "--json", str(state_file))
    with begin(tmp_path, *arguments) as demo:
        output, errors = demo.communicate(timeout=DURATION_S + 140)
    assert demo.returncode == 0, output + errors
    assert not errors
    state = json.loads(state_file.read_text())
    path = state["incident"]["path"]
    told = [
        each
        for each in state["notices"]
        if each["labels"]["alertname"] == "SLOBurnPage" and each["receiver"] != "escalation"
    ]
    bad = {(s["slo"], s["path"]) for s in state["slos"] if s["bad_events"] >= 3}
    paged = [(each["labels"]["slo"], each["labels"]["path"]) for each in told]
    assert set(paged) <= bad  # a busy machine is late on healthy paths, too
    first = told[paged.index(("national-latency", path))]
    assert first["receiver"] == "network-operations"
    assert first["labels"]["pair"] == "1m/10s"
    assert f"Alertmanager to network-operations: PAGE SLOBurnPage: national-latency on {path}" in (
        output
    )
    assert path in {each["labels"].get("path") for each in state["alerts"]}  # so says the engine
    assert not list(tmp_path.glob("netslo-demo-*"))


def test_both_end_with_a_demo_that_is_killed(tmp_path) -> None:
    with begin(tmp_path, "--duration", "60") as demo:
        assert demo.stdout is not None
        next(line for line in demo.stdout if "Prometheus at http://" in line)
        time.sleep(1)
        group = pids_of_group(demo.pid)
        names = {_name(pid) for pid in group}
        assert {"prometheus", "prometheus-aler"} <= names or {"alertmanager"} & names
        demo.send_signal(signal.SIGKILL)
        demo.communicate(timeout=60)
    assert not wait_gone(group, 30.0)


def test_what_is_not_installed_is_named(tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "netslo", "demo", "--prometheus"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PATH": str(tmp_path)},
    )
    assert done.returncode == 2
    assert "sudo apt-get install prometheus prometheus-alertmanager" in done.stderr
    assert "Traceback" not in done.stderr


def _name(pid: int) -> str:
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
