"""ICMP echo through the engine and from the shell."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from lab import namespaces
from lab.fixtures import pair, require, wan
from lab.namespaces import Namespace
from lab.wan import Wan
from lab.wan_log import rtt_of

from analytics.windows import PacketCounts, PathWindow, SeriesKey
from netslo.errors import ConfigurationError
from netslo.metrics import RTT
from netslo.model import Path, ProbeKind, Quality, Window
from probes.address import SocketAddress
from probes.channel import Report
from probes.cli import measure
from probes.engine import Engine
from probes.session import SessionPlan

__all__ = ["pair", "wan"]  # fixtures

MS = 1_000_000
KEY = SeriesKey(Path("a", "b", "ef"), ProbeKind.ICMP)
GROUPS = pytest.mark.parametrize("groups", ["0 2147483647", "1 0"], ids=["datagram", "raw"])


def run(
    namespace: Namespace, address: SocketAddress, count: int = 100
) -> tuple[PathWindow, Report]:
    """Measure from a namespace; return all windows together, and what was discarded."""
    total, rest = PathWindow(KEY, Window(0)), Report()

    def take(reports: dict[str, Report]) -> None:
        for report in reports.values():
            for window in report.windows:
                total.absorb(window)
            rest.discarded += report.discarded

    plan = SessionPlan(KEY, 5 * MS, 20_000 * MS)
    engine = Engine(take)
    with namespace.inside():
        engine.measure(plan, address, count=count)
        engine.run()
    return total, rest


@GROUPS
@pytest.mark.parametrize("version", [4, 6])
def test_samples_with_both_stamps_are_of_quality_b(wan: Wan, version, groups, patient):
    wan.a.namespace.set_sysctl("net.ipv4.ping_group_range", groups)
    family = {4: 2, 6: 10}[version]
    total, rest = run(wan.a.namespace, SocketAddress(family, (wan.b.address(version), 862)))
    answered = total.packets.answered
    assert total.packets == PacketCounts(answered=100)
    counts = {key.quality: s.count for key, s in total.sketches.items() if key.metric == RTT}
    assert (
        counts[Quality.B] >= answered - 2
    )  # the kernel begins to stamp a moment after it is asked
    assert Quality.A not in counts
    assert not rest.discarded
    [sketch] = [s for k, s in total.sketches.items() if (k.metric, k.quality) == (RTT, Quality.B)]
    _, true_ns = rtt_of(wan.log(), protocol={4: 1, 6: 58}[version])
    assert sketch.min > true_ns.min() / 1e9
    # A busy host holds up some packets between emulator and kernel, never all of them.
    assert sketch.quantile(0.1) == pytest.approx(np.quantile(true_ns, 0.1) / 1e9, rel=0.05)


def invoke(*arguments: str):
    return CliRunner().invoke(measure, ["rtt", "--no-floor", *arguments], catch_exceptions=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@GROUPS
def test_from_the_shell(host, groups, patient):
    require(namespaces.available())
    with Namespace("alone") as alone:
        alone.set_sysctl("net.ipv4.ping_group_range", groups)
        with alone.inside():  # the engine's thread too, for it starts here
            options = ("--icmp", "--interval", "2ms", "--timeout", "2s")
            result = invoke(host, *options, "--count", "20", "--json")
            plain = invoke(host, *options, "--count", "3")
    assert result.exit_code == 0, result.output
    shape = json.loads(result.stdout)
    assert (shape["target"], shape["address"], shape["kind"]) == (host, host, "icmp")
    assert shape["answered"] == 20
    assert shape["quality"]["B"] >= shape["answered"] - 5
    assert plain.stdout.startswith(f"ICMP echo to {host}\n3 due, ")


def test_where_echo_is_forbidden_the_shell_says_what_is_needed(monkeypatch):
    def forbidden(*_):
        raise PermissionError(1, "ICMP echo is not allowed: it needs either ...")

    monkeypatch.setattr("probes.measure.open_echo_socket", forbidden)
    result = invoke("127.0.0.1", "--icmp", "--count", "1")
    assert isinstance(result.exception, ConfigurationError)
    assert str(result.exception).startswith("ICMP echo is not allowed: it needs either")


def test_a_port_makes_no_sense():
    result = invoke("127.0.0.1:862", "--icmp")
    assert "ICMP has no ports" in str(result.exception)
