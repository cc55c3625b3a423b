"""A trace from a shell that the user ends early."""

from __future__ import annotations

import threading

import pytest

from netslo.model import Endpoint
from probes.address import resolve
from probes.trace import measuring as module
from probes.trace.carrier import Carrier
from probes.trace.engine import PathMtu
from probes.trace.flow import Flow
from probes.trace.measuring import TraceMeasuring
from probes.trace.tracing import TracePlan


def test_half_a_search_tells_no_path_mtu(monkeypatch: pytest.MonkeyPatch) -> None:
    def half(_carrier: Carrier, _flow: Flow, stopped: threading.Event) -> PathMtu:
        stopped.set()  # Ctrl-C, after the smallest size has passed
        return PathMtu(576)

    monkeypatch.setattr(module, "find_path_mtu", half)
    target = Endpoint("127.0.0.1", 0)
    result = TraceMeasuring(target, resolve(target), TracePlan(), mtu=True).measure(lambda: None)
    assert result.reached
    assert result.mtus == {}
    assert [flow["path_mtu"] for flow in result.to_json()["flows"]] == [None]
