"""The demo's Prometheus and Alertmanager end with the demo; test_demo.py shows what they do."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys

from processes import pids_of_group, wait_gone
from real_prometheus import binary, wait_until


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


def test_both_end_with_a_demo_that_is_killed(tmp_path) -> None:
    with begin(tmp_path, "--duration", "60") as demo:
        assert demo.stdout is not None
        next(line for line in demo.stdout if "Prometheus at http://" in line)
        group = wait_until(lambda: _with_both(pids_of_group(demo.pid)), "both programs")
        demo.send_signal(signal.SIGKILL)
        demo.communicate(timeout=200)
    assert not wait_gone(group)


def test_what_is_not_installed_is_named(tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "netslo", "demo", "--prometheus"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "PATH": str(tmp_path)},
    )
    assert done.returncode == 2
    assert "sudo apt-get install prometheus prometheus-alertmanager" in done.stderr
    assert "Traceback" not in done.stderr


def _with_both(pids: list[int]) -> list[int]:
    names = {_name(pid) for pid in pids}
    both = "prometheus" in names and names & {"prometheus-aler", "alertmanager"}
    return pids if both else []


def _name(pid: int) -> str:
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
