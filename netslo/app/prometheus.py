"""Prometheus and Alertmanager beside a run on one host, as they are installed there."""

from __future__ import annotations

import http.client
import pathlib
import shutil
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from netslo.app.run import Run
from netslo.errors import ConfigurationError, NetsloError
from netslo.model import Endpoint
from slo.objective import Objective
from slo.rules.alertmanager import Receivers, Waits, configuration
from slo.rules.layout import Timing
from slo.rules.rules import rule_file
from slo.rules.yaml_text import to_yaml

_LOOPBACK: Final = "127.0.0.1"
_READY_S: Final = 60.0
_SCRAPE_S: Final = 3  # the collector works /metrics out anew as often
_TIMING: Final = Timing(fast_s=2.0, slow_s=8.0)
_HEAD: Final = "Made by `netslo demo --prometheus`; it goes with the demo."


@dataclass(frozen=True, slots=True)
class Programs:
    """Where both programs are."""

    prometheus: str
    alertmanager: str


def find_programs() -> Programs:
    """Return where the programs are.

    Raises:
        ConfigurationError: one is not installed; with what to install.
    """
    prometheus = shutil.which("prometheus")
    # Debian has given it a longer name.
    alertmanager = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    packages = [
        package
        for package, found in (
            ("prometheus", prometheus),
            ("prometheus-alertmanager", alertmanager),
        )
        if found is None
    ]
    if prometheus is None or alertmanager is None:
        raise ConfigurationError(
            f"--prometheus: {' and '.join(packages)} not installed. On Debian or Ubuntu: "
            f"sudo apt-get install {' '.join(packages)}. Without --prometheus the collector "
            "itself alerts"
        )
    return Programs(prometheus, alertmanager)


@dataclass(frozen=True, slots=True)
class Pair:
    """Where both listen."""

    prometheus: Endpoint
    alertmanager: Endpoint


def start_pair(
    run: Run,
    programs: Programs,
    objectives: Sequence[Objective],
    collector: Endpoint,
    hook_url: str,
    faster: int,
) -> Pair:
    """Start both with what netslo generates for them; return when both are ready.

    Args:
        run: Ends them.
        programs: Where they are.
        objectives: As the collector has them, so that rules and thresholds fit.
        collector: What Prometheus scrapes.
        hook_url: What all receivers are.
        faster: How much less Alertmanager waits than in earnest.

    Raises:
        NetsloError: one does not begin to work; with the end of its log.
    """
    folder = run.data_dir / "prometheus"
    folder.mkdir(parents=True, exist_ok=True)
    pair = Pair(_free_endpoint(), _free_endpoint())
    (folder / "netslo-rules.yml").write_text(to_yaml(rule_file(objectives, _TIMING), _HEAD))
    scraped = _prometheus_config(collector, pair.alertmanager)
    (folder / "prometheus.yml").write_text(to_yaml(scraped, _HEAD))
    routed = _alertmanager_config(objectives, hook_url, faster)
    (folder / "alertmanager.yml").write_text(to_yaml(routed, _HEAD))
    alertmanager = [
        programs.alertmanager,
        f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder / 'alertmanager'}",
        f"--web.listen-address={pair.alertmanager}",
        "--cluster.listen-address=",
    ]
    prometheus = [
        programs.prometheus,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={pair.prometheus}",
        "--enable-feature=native-histograms",
    ]
    for name, arguments, endpoint in (
        ("Alertmanager", alertmanager, pair.alertmanager),
        ("Prometheus", prometheus, pair.prometheus),
    ):
        log_file = folder / f"{name.lower()}.log"
        child = run.start_program(name, arguments, log_file)
        deadline_s = time.monotonic() + _READY_S
        while not _is_ready(endpoint):
            if not child.alive or time.monotonic() > deadline_s:
                raise NetsloError(f"{name} does not begin to work: {_end_of(log_file)}")
            time.sleep(0.1)
    return pair


def _prometheus_config(collector: Endpoint, alertmanager: Endpoint) -> dict[str, Any]:
    every = f"{_SCRAPE_S}s"
    return {
        "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": "2s"},
        "rule_files": ["netslo-rules.yml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [str(alertmanager)]}]}]},
        "scrape_configs": [
            {"job_name": "netslo", "static_configs": [{"targets": [str(collector)]}]}
        ],
    }


def _alertmanager_config(
    objectives: Sequence[Objective], hook_url: str, faster: int
) -> dict[str, Any]:
    names = [receiver["name"] for receiver in configuration(objectives)["receivers"]]
    receivers = Receivers(dict.fromkeys(names, hook_url))
    return configuration(objectives, receivers, Waits(scale=faster), now_s=time.time())


def _free_endpoint() -> Endpoint:
    """Return an address that nobody has now; neither program can tell which one it took."""
    with socket.socket() as found:
        found.bind((_LOOPBACK, 0))
        return Endpoint(_LOOPBACK, found.getsockname()[1])


def _is_ready(endpoint: Endpoint) -> bool:
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=1.0)
    try:
        connection.request("GET", "/-/ready")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _end_of(log_file: pathlib.Path) -> str:
    try:
        lines = log_file.read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1] if lines else "it says nothing"
