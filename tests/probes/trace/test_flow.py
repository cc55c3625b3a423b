"""Packets of traces, as scapy reads them: right, and the same in all that routers look at."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.packet import Packet

from netslo.model import Endpoint
from netslo.route import TraceProtocol
from probes.address import resolve
from probes.trace.carrier import new_flows
from probes.trace.flow import NUMBERS, Flow, number_in, write_packet, write_transport
from probes.trace.tracing import TracePlan

from .conftest import sibling

NUMBER = st.integers(NUMBERS[0], NUMBERS[-1])
LAYERS = {
    (4, TraceProtocol.UDP): UDP,
    (6, TraceProtocol.UDP): UDP,
    (4, TraceProtocol.TCP): TCP,
    (6, TraceProtocol.TCP): TCP,
    (4, TraceProtocol.ICMP): ICMP,
    (6, TraceProtocol.ICMP): ICMPv6EchoRequest,
}
every_flow = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)


def dissect(flow: Flow, octets: bytes) -> tuple[Packet, Packet]:
    """Return the IP packet and what is in it, by scapy."""
    ip = IP(octets) if flow.version == 4 else IPv6(octets)
    return ip, ip[LAYERS[flow.version, flow.protocol]]


def rebuilt(flow: Flow, octets: bytes) -> bytes:
    """Return the packet with the checksums and lengths that scapy computes."""
    ip, inside = dissect(flow, octets)
    for layer, fields in ((ip, ("chksum", "len", "plen")), (inside, ("chksum", "cksum", "len"))):
        for field in fields:
            if field in layer.fields:
                delattr(layer, field)
    return bytes(ip)


def looked_at(flow: Flow, octets: bytes) -> tuple[object, ...]:
    """Return what routers choose a way by."""
    ip, inside = dissect(flow, octets)
    if flow.version == 4:
        network = (ip.src, ip.dst, ip.proto, ip.tos)
    else:
        network = (ip.src, ip.dst, ip.nh, ip.tc, ip.fl)
    if flow.protocol is TraceProtocol.ICMP:
        return (*network, octets[20 if flow.version == 4 else 40 :][:6])
    return (*network, inside.sport, inside.dport)


@every_flow
@given(number=NUMBER, ttl=st.integers(1, 64), size=st.integers(0, 1500))
def test_scapy_computes_the_same_checksums_and_lengths(
    flow: Flow, number: int, ttl: int, size: int
) -> None:
    octets = write_packet(flow, number, ttl, size)
    again = rebuilt(flow, octets)
    if flow.version == 4:  # the kernel writes the checksum of that header
        octets, again = octets[:10] + octets[12:], again[:10] + again[12:]
    assert octets == again
    assert len(write_packet(flow, number, ttl, size)) == max(size, flow.size_min)


@every_flow
@given(one=NUMBER, other=NUMBER, ttls=st.tuples(st.integers(1, 64), st.integers(1, 64)))
def test_routers_see_one_flow_in_all_its_packets(
    flow: Flow, one: int, other: int, ttls: tuple[int, int]
) -> None:
    first, second = write_packet(flow, one, ttls[0]), write_packet(flow, other, ttls[1])
    assert looked_at(flow, first) == looked_at(flow, second)
    assert looked_at(flow, first) != looked_at(flow, write_packet(sibling(flow), one, ttls[0]))


@every_flow
@given(number=NUMBER, size=st.integers(0, 3000))
def test_eight_octets_tell_the_number(flow: Flow, number: int, size: int) -> None:
    assert number_in(flow, write_transport(flow, number, size)[:8]) == number


def test_what_a_reader_of_captures_sees(flow: Flow) -> None:
    ip, inside = dissect(flow, write_packet(flow, 4711, 7))
    assert (ip.ttl if flow.version == 4 else ip.hlim) == 7
    assert (ip.tos if flow.version == 4 else ip.tc) >> 2 == 46
    if flow.version == 4:
        assert (ip.id, str(ip.flags)) == (4711, "DF")
    if flow.protocol is TraceProtocol.TCP:
        assert str(inside.flags) == "S"
        assert dict(inside.options)["MSS"] == 1460


@pytest.mark.parametrize("version", [4, 6])
def test_flows_of_ipv6_have_labels_of_their_own(flow: Flow, version: int) -> None:
    if flow.version == version == 6:
        labels = {each.label for each in (flow, sibling(flow))}
        assert len(labels) == 2
        assert all(0 < label < 1 << 20 for label in labels)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("protocol", list(TraceProtocol))
def test_flows_of_a_trace_differ_in_what_routers_choose_by(
    host: str, protocol: TraceProtocol
) -> None:
    plan = TracePlan(protocol, 443, 16, 50_000)
    flows = new_flows(plan, resolve(Endpoint(host, 0)))
    packets = [write_packet(flow, 4711, 7) for flow in flows]
    start = 20 if host == "127.0.0.1" else 40
    assert len({packet[start : start + 4] for packet in packets}) == 16
    assert [flow.source_port for flow in flows] == list(range(50_000, 50_016))
