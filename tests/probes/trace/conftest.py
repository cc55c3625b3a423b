"""Flows of every kind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from netslo.route import TraceProtocol
from probes.trace.flow import Flow

ADDRESSES = {4: ("192.0.2.1", "198.51.100.9"), 6: ("2001:db8::1", "2001:db8:9::9")}
ROUTER = {4: "203.0.113.7", 6: "2001:db8:7::7"}
PORTS = {TraceProtocol.UDP: 33434, TraceProtocol.TCP: 443, TraceProtocol.ICMP: 1}
KINDS = [(version, protocol) for version in (4, 6) for protocol in TraceProtocol]


def new_flow(version: int, protocol: TraceProtocol, index: int = 0) -> Flow:
    source, target = ADDRESSES[version]
    return Flow(
        index,
        protocol,
        source,
        target,
        51_000 + index,
        PORTS[protocol],
        dscp=46,
        cookie=b"\x91cookies",
    )


@pytest.fixture(params=KINDS, ids=lambda kind: f"IPv{kind[0]}-{kind[1]}")
def flow(request: pytest.FixtureRequest) -> Flow:
    return new_flow(*request.param)


def sibling(flow: Flow) -> Flow:
    """Return another flow of the same trace."""
    return replace(flow, index=flow.index + 1, source_port=flow.source_port + 1)
