"""Traces through real routers: every hop, both branches, and what is not there is not made up."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from click.testing import CliRunner
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6TimeExceeded, IPv6
from scapy.utils import rdpcap

from lab.routers import Diamond, limit_answers
from netslo.errors import ConfigurationError, NetsloError
from netslo.model import Endpoint
from netslo.route import TraceProtocol, same_route
from probes.address import resolve
from probes.cli import measure
from probes.trace.carrier import Carrier
from probes.trace.engine import PathMtu, Tracer, find_path_mtu, open_carrier
from probes.trace.raw import RawCarrier
from probes.trace.tracing import FlowRecord, TracePlan, Tracing
from probes.trace.unprivileged import UnprivilegedCarrier

FLOWS = 6
PORTS = {TraceProtocol.UDP: 33434, TraceProtocol.TCP: 443, TraceProtocol.ICMP: 7}
CARRIERS = pytest.mark.parametrize("kind", [RawCarrier, UnprivilegedCarrier])
VERSIONS = pytest.mark.parametrize("version", [4, 6])


def plan_of(diamond: Diamond, version: int, protocol: TraceProtocol) -> TracePlan:
    """Return a plan whose flows take both branches, as far as r1 tells flows apart."""
    port = PORTS[protocol]
    first = 40_000
    if protocol is not TraceProtocol.ICMP:
        first = diamond.source_port(version, protocol.value, port, FLOWS)
    return TracePlan(protocol, port, FLOWS, first, dscp=46, tries=5)


@contextmanager
def carrying(diamond: Diamond, kind: type, plan: TracePlan, version: int) -> Iterator[Carrier]:
    with diamond.source.inside():
        carrier = kind(plan, resolve(Endpoint(diamond.target(version), 0)))
    try:
        yield carrier
    finally:
        carrier.close()


def trace(carrier: Carrier, plan: TracePlan) -> list[FlowRecord]:
    tracing = Tracing(plan, carrier.flows, time.monotonic_ns(), one_at_a_time=carrier.one_at_a_time)
    Tracer(carrier, tracing).run()
    return tracing.records


def addresses(record: FlowRecord) -> list[str | None]:
    return [hop.address for hop in record.route().hops]


@VERSIONS
@pytest.mark.parametrize("protocol", list(TraceProtocol))
def test_every_hop_of_both_branches_as_the_routing_tables_say(
    diamond: Diamond, version: int, protocol: TraceProtocol
) -> None:
    plan = plan_of(diamond, version, protocol)
    with carrying(diamond, RawCarrier, plan, version) as carrier:
        records = trace(carrier, plan)
    assert len(records) == FLOWS
    ways = [diamond.hops(branch, version) for branch in ("r2", "r3")]
    for record in records:
        assert record.reached
        if protocol is TraceProtocol.ICMP:  # r1's hash knows no identifier: one branch
            assert addresses(record) in ways
            continue
        flow = record.flow
        branch = diamond.branch(version, protocol.value, flow.source_port, flow.target_port)
        assert addresses(record) == diamond.hops(branch, version)
    if protocol is not TraceProtocol.ICMP:
        assert {tuple(addresses(record)) for record in records} == set(map(tuple, ways))


@VERSIONS
def test_without_the_capability_no_branch_is_mixed_either(diamond: Diamond, version: int) -> None:
    plan = plan_of(diamond, version, TraceProtocol.UDP)
    with carrying(diamond, UnprivilegedCarrier, plan, version) as carrier:
        records = trace(carrier, plan)
    # Which branch it is depends here on the socket: on one machine the kernel's hash of it
    # travels with the packet.
    ways = [diamond.hops(branch, version) for branch in ("r2", "r3")]
    assert all(record.reached and addresses(record) in ways for record in records)


@VERSIONS
def test_a_change_of_route_is_a_change_and_the_same_again_is_none(
    diamond: Diamond, version: int
) -> None:
    plan = plan_of(diamond, version, TraceProtocol.UDP)
    with carrying(diamond, RawCarrier, plan, version) as carrier:
        before, again = ([record.route() for record in trace(carrier, plan)] for _ in range(2))
        diamond.route_over("r3")
        try:
            after = [record.route() for record in trace(carrier, plan)]
        finally:
            diamond.route_over("r2", "r3")
    assert [route.fingerprint for route in before] == [route.fingerprint for route in again]
    over_r3 = diamond.hops("r3", version)
    for old, new in zip(before, after, strict=True):
        assert [hop.address for hop in new.hops] == over_r3
        assert same_route(old, new) == ([hop.address for hop in old.hops] == over_r3)
    assert not all(map(same_route, before, after))


@VERSIONS
@CARRIERS
def test_a_silent_router_is_an_unknown_hop(diamond: Diamond, version: int, kind: type) -> None:
    near = diamond.address("src-r1", 0, version)
    r3 = diamond.spaces["r3"]
    family = ("-6",) if version == 6 else ()
    r3.ip(*family, "route", "add", "unreachable", near)  # r3 cannot answer, but it forwards
    diamond.route_over("r3")
    plan = TracePlan(flows=2, tries=2)
    try:
        with carrying(diamond, kind, plan, version) as carrier:
            records = trace(carrier, plan)
    finally:
        diamond.route_over("r2", "r3")
        r3.ip(*family, "route", "del", "unreachable", near)
    first, _, third, last = diamond.hops("r3", version)
    assert [addresses(record) for record in records] == [[first, None, third, last]] * 2


def test_routers_that_answer_once_a_second_are_found_by_all_flows(diamond: Diamond) -> None:
    # No packet goes further than the target, which answers one a second, too.
    plan = replace(plan_of(diamond, 4, TraceProtocol.UDP), tries=15, hops_max=4)
    limited = [diamond.spaces[name] for name in ("r1", "r2", "r3", "r4", "dst")]
    for space in limited:
        limit_answers(space, 1000)
    try:
        with carrying(diamond, RawCarrier, plan, 4) as carrier:
            for _ in range(2):  # the first uses up what may be answered at once
                records = trace(carrier, plan)
    finally:
        for space in limited:
            limit_answers(space, 0)
    ways = [diamond.hops(branch, 4) for branch in ("r2", "r3")]
    assert all(addresses(record) in ways for record in records)


@VERSIONS
@CARRIERS
def test_a_path_mtu_that_a_router_tells(diamond: Diamond, version: int, kind: type) -> None:
    told_by = [diamond.address(f"r1-{name}", 1, version) for name in ("r2", "r3")]
    with narrowed(diamond, 1400, both_ends=True):
        found = path_mtu(diamond, kind, version)
    assert (found.octets, found.black_hole) == (1400, False)
    assert found.told_by in told_by
    assert path_mtu(diamond, kind, version) == PathMtu(1500)


@VERSIONS
@CARRIERS
def test_a_path_mtu_that_nobody_tells(
    diamond: Diamond, version: int, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("probes.trace.engine.MTU_TIMEOUT_NS", 300_000_000)
    with narrowed(diamond, 1450, both_ends=False):
        found = path_mtu(diamond, kind, version)
    # The device takes frames as long as one with a VLAN tag would be.
    assert found.black_hole
    assert found.octets is not None
    assert 1450 <= found.octets <= 1454


@contextmanager
def narrowed(diamond: Diamond, mtu: int, *, both_ends: bool) -> Iterator[None]:
    """Let the last links of both branches carry less; at r4's end alone, nobody knows."""
    ends = [(name, f"{name}-r4") for name in ("r2", "r3")] if both_ends else []
    ends += [("r4", f"{name}-r4") for name in ("r2", "r3")]
    for name, device in ends:
        diamond.spaces[name].ip("link", "set", device, "mtu", str(mtu))
    try:
        yield
    finally:
        for name, device in ends:
            diamond.spaces[name].ip("link", "set", device, "mtu", "1500")


def path_mtu(diamond: Diamond, kind: type, version: int) -> PathMtu:
    plan = TracePlan(flows=1)
    with carrying(diamond, kind, plan, version) as carrier:
        return find_path_mtu(carrier, carrier.flows[0], threading.Event())


def command(diamond: Diamond, *arguments: str):
    with diamond.source.inside():
        return CliRunner().invoke(measure, ["trace", *arguments])


def test_the_json_has_its_shape_and_adds_up(diamond: Diamond) -> None:
    plan = plan_of(diamond, 4, TraceProtocol.UDP)
    options = ("--flows", str(FLOWS), "--source-port", str(plan.source_port), "--dscp", "46")
    rounds = ("--count", "4", "--interval", "100ms", "--timeout", "5s", "--mtu", "--json")
    result = command(diamond, diamond.target(4), *options, *rounds)
    assert result.exit_code == 0, result.exception
    shape = json.loads(result.stdout)
    assert (shape["protocol"], shape["port"], shape["rounds"]) == ("udp", 33434, 4)
    assert shape["reached"]
    assert [flow["source_port"] for flow in shape["flows"]] == [
        plan.source_port + i for i in range(FLOWS)
    ]
    for flow in shape["flows"]:
        branch = diamond.branch(4, "udp", flow["source_port"], 33434)
        assert [hop["address"] for hop in flow["hops"]] == diamond.hops(branch, 4)
        assert flow["path_mtu"] == 1500
        for hop in flow["hops"]:
            assert hop["sent"] == hop["answered"] + hop["lost"]
            assert hop["rtt"]["count"] == hop["answered"]
            assert hop["rtt"]["max"] < 5
    assert len({flow["fingerprint"] for flow in shape["flows"]}) == 2
    assert sum(flow["hops"][0]["sent"] for flow in shape["flows"]) >= FLOWS + 3


def test_a_person_reads_branches_and_the_path_mtu(diamond: Diamond) -> None:
    plan = plan_of(diamond, 6, TraceProtocol.TCP)
    options = ("--protocol", "tcp", "--flows", str(FLOWS), "--source-port", str(plan.source_port))
    rounds = ("--count", "2", "--interval", "100ms", "--timeout", "5s", "--mtu")
    result = command(diamond, diamond.target(6), *options, *rounds)
    assert result.exit_code == 0, result.exception
    assert f"TCP to {diamond.target(6)} port 443, 2 rounds" in result.stdout
    for text in ("branch 1 of 2", "branch 2 of 2", "path MTU 1500 octets", "source port"):
        assert text in result.stdout
    for branch in ("r2", "r3"):
        for address in diamond.hops(branch, 6):
            assert address in result.stdout


@VERSIONS
def test_the_packets_can_be_looked_at_by_others(diamond: Diamond, version: int, tmp_path) -> None:
    plan, file = plan_of(diamond, version, TraceProtocol.UDP), tmp_path / "trace.pcap"
    options = ("--flows", "2", "--source-port", str(plan.source_port), "--timeout", "5s")
    rounds = ("--count", "1", "--pcap", str(file))
    result = command(diamond, diamond.target(version), *options, *rounds)
    assert result.exit_code == 0, result.exception
    captured = rdpcap(str(file))
    ip, exceeded = (IP, ICMP) if version == 4 else (IPv6, ICMPv6TimeExceeded)
    ports = (plan.source_port, plan.source_port + 1)
    sent = [packet for packet in captured if packet[ip].dst == diamond.target(version)]
    assert {packet[UDP].sport for packet in sent} == set(ports)
    routers = {
        router
        for port in ports
        for router in diamond.hops(diamond.branch(version, "udp", port, 33434), version)[:-1]
    }
    assert {packet[ip].src for packet in captured if packet.haslayer(exceeded)} >= routers
    for packet in sent:
        again = packet.copy()
        del again[UDP].chksum, again[UDP].len
        if version == 4:
            del again[IP].chksum, again[IP].len
        assert bytes(again) == bytes(packet)  # lengths and checksums are right


def test_a_capture_that_cannot_be_written_is_a_mistake(diamond: Diamond, tmp_path) -> None:
    file = tmp_path / "none" / "trace.pcap"
    result = command(diamond, diamond.target(4), "--pcap", str(file))
    assert isinstance(result.exception, ConfigurationError)
    assert f"--pcap {file}: cannot be written: No such file or directory" in str(result.exception)


def test_a_target_that_is_not_there_is_bad_news(diamond: Diamond) -> None:
    nowhere = diamond.target(4).rpartition(".")[0] + ".3"
    result = command(diamond, nowhere, "--count", "1", "--flows", "1", "--timeout", "500ms")
    assert isinstance(result.exception, NetsloError)
    assert result.exception.exit_code == 1
    assert f"{nowhere} was not reached" in str(result.exception)
    assert diamond.hops("r2", 4)[0] in result.stdout


def test_a_router_that_refuses_is_named(diamond: Diamond) -> None:
    target = diamond.target(4)
    r4 = diamond.spaces["r4"]
    r4.ip("route", "add", "prohibit", f"{target}/32")
    try:
        result = command(diamond, target, "--count", "1", "--timeout", "500ms")
    finally:
        r4.ip("route", "del", "prohibit", f"{target}/32")
    assert isinstance(result.exception, NetsloError)
    assert "forbidden by a router's policy" in str(result.exception)
    assert "!X" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["127.0.0.1", "-4", "-6"], "exclude each other"),
        (["127.0.0.1", "--protocol", "icmp", "--port", "7"], "has no ports"),
        (["127.0.0.1", "--source-port", "65534"], "4 flows need as many ports"),
        (["127.0.0.1", "--interval", "1ms"], "at least 0.1s"),
        (["no.such.host.invalid"], "does not resolve"),
    ],
)
def test_mistakes_are_told_before_anything_is_sent(arguments: list[str], expected: str) -> None:
    result = CliRunner().invoke(measure, ["trace", *arguments])
    assert isinstance(result.exception, ConfigurationError)
    assert expected in str(result.exception)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_this_host_is_one_hop_away(host: str) -> None:
    plan = TracePlan(flows=2, tries=5)
    carrier = open_carrier(plan, resolve(Endpoint(host, 0)))
    try:
        records = trace(carrier, plan)
    finally:
        carrier.close()
    assert [addresses(record) for record in records] == [[host]] * 2
