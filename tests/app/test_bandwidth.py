"""Bandwidth in a whole run: `netslo up` answers tests, and what a shell loads is no evidence."""

import json
import re
import time
import urllib.request

import pytest
from ports import free_port, free_udp_port
from two_sites import estate


def figures(url: str, metric: str) -> dict[str, float]:
    """Return a metric's values by path or site."""
    text = urllib.request.urlopen(f"{url}/metrics").read().decode()
    pattern = re.compile(rf"^{metric}{{(.*)}} (\S+)$", re.MULTILINE)
    return {
        re.search(r'(?:path|[{,]site)="([^"]*)"', "{" + labels)[1]: float(value)
        for labels, value in pattern.findall(text)
    }


@pytest.mark.waits
def test_up_answers_tests_and_sets_aside_what_they_load(start, netslo, tmp_path):
    tests = free_port()
    text = estate(
        free_udp_port(),
        free_udp_port(),
        bandwidth="{method: train, interval: 1d, budget: 50MB/day}",
        tests=tests,
    )
    (tmp_path / "estate.yaml").write_text(text)
    checked = netslo("estate", "check", "-c", tmp_path).stdout
    assert "Bandwidth: 1 tests by trains, forward and reverse, each every 1d" in checked
    up = start("up", "-c", tmp_path, "--listen", "127.0.0.1:0", "--site", "a", "--site", "b")
    url = up.wait_for(r"(http://127\.0\.0\.1:\d+) ")[1]
    state = tmp_path / "netslo-data" / "state"
    asked = netslo(
        "measure", "bandwidth", f"127.0.0.1:{tests}", "--method", "train", "--json",
        "--state", state / "a",
    )  # fmt: skip
    assert json.loads(asked.stdout)["octets_used"] > 0, asked.stderr
    deadline = time.monotonic() + 200
    while (aside := figures(url, "network_probe_packets_unmeasured_total")).get("b:a/be", 0) == 0:
        assert time.monotonic() < deadline, aside
        time.sleep(0.5)
    assert aside["a:b/be"] > 0
    while not figures(url, "netslo_probe_bandwidth_budget_bytes"):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert figures(url, "netslo_probe_bandwidth_budget_bytes").keys() == {"a"}
    budget = json.loads(netslo("measure", "budget", "--state", state / "a", "--json").stdout)
    assert budget["today"]["used"] > 0
    assert up.stop(120) == 0
    assert "Traceback" not in up.log.read_text()
