"""What is told of the real link at the end: a part of `demo --json`, and lines for a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from analytics.readings import Reading
from netslo import metrics
from netslo.app.lab.findings import Findings, true_bit_s
from netslo.app.lab.network import BACKUP_BIT_S, PRIMARY_BIT_S
from netslo.app.lab.real_link import RealLink
from netslo.model import NS_PER_S
from netslo.route import Route, RouteObservation
from netslo.units import format_ms, format_rate

_UNKNOWN: Final = "*"


def no_lab_state(reason: str) -> dict[str, Any]:
    """Return the value of `lab` in `demo --json` where there is no real link: all is null."""
    return dict.fromkeys(_KEYS) | {"lack": reason}


def lab_state(link: RealLink, found: Findings) -> dict[str, Any]:
    """Return the value of `lab` in `demo --json`; what is not known is null."""
    change = found.first_change(link.failed_s, link.mended_s)
    return dict.fromkeys(_KEYS) | {
        "path": link.path.id,
        "capacity": {"primary": PRIMARY_BIT_S, "backup": BACKUP_BIT_S},
        "primary_failed": link.failed_s,
        "primary_mended": link.mended_s,
        "change_seen_after": (
            None
            if change is None or link.failed_s is None
            else change.seen_ns / NS_PER_S - link.failed_s
        ),
        "failures": link.failures,
        "routes": [_seen(each) for each in found.routes],
        "route_changes": [_change(each) for each in found.changes],
        "bandwidth": [
            _bandwidth(each, true_bit_s(each, link.failed_s, link.mended_s))
            for each in found.readings
            if each.metric == metrics.BANDWIDTH
        ],
        "loaded_rtt": [
            {**_reading(each), "state": each.state, "quantile": each.quantile, "value": each.value}
            for each in found.readings
            if each.metric == metrics.LOADED_RTT
        ],
    }


_KEYS: Final = (
    *("path", "lack", "capacity", "primary_failed", "primary_mended", "change_seen_after"),
    *("routes", "route_changes", "bandwidth", "loaded_rtt", "failures"),
)


def lab_lines(state: Mapping[str, Any]) -> Iterator[str]:
    """Say what was measured across the real link, or why there was none."""
    lab = state["lab"]
    if lab["path"] is None:
        yield f"Real link: not shown: {lab['lack']}"
        return
    path = next(each for each in state["paths"] if each["path"] == lab["path"])
    p50, p99 = (format_ms(path["rtt"]["quantiles"][q]["value"]) for q in ("0.5", "0.99"))
    rates = " or ".join(format_rate(rate) for rate in lab["capacity"].values())
    yield f"Real link under {lab['path']} ({rates}): p50 {p50} ms, p99 {p99} ms."
    yield from map(_bandwidth_line, lab["bandwidth"])
    if not lab["bandwidth"] and not lab["failures"]:
        yield "  its capacity was not tested"
    yield from _loaded_lines(lab["loaded_rtt"])
    yield from (f"  a capacity test failed: {why}" for why in lab["failures"])
    yield from _route_lines(lab)


def change_line(change: RouteObservation, failed_s: float) -> str:
    """Say that the change was seen."""
    after_s = change.seen_ns / NS_PER_S - failed_s
    return f"{change.path} takes another way: seen after {after_s:.0f} s"


def _bandwidth_line(measured: Mapping[str, Any]) -> str:
    found, true = measured["bits_per_second"], measured["truth"]
    line = f"  {measured['direction']} by {measured['method']}: {found / 1e6:.2f} Mbit/s"
    if true is None:
        return f"{line}, while the branch changed"
    return f"{line}, {found / true - 1:+.2%} of what the token bucket lets through"


def _loaded_lines(measured: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Say the round trips beside each test."""
    by_test: dict[tuple[Any, ...], dict[tuple[str, str], float]] = {}
    for each in measured:
        test = each["time"], each["direction"], each["method"]
        by_test.setdefault(test, {})[each["state"], each["quantile"]] = each["value"]
    for (_, direction, _), values in by_test.items():
        idle, loaded = (
            " and ".join(format_ms(values.get((state, q))) for q in ("0.5", "0.99"))
            for state in ("idle", "loaded")
        )
        yield f"  {direction}, p50 and p99 in ms: idle {idle}, loaded {loaded}"


def _route_lines(lab: Mapping[str, Any]) -> Iterator[str]:
    if lab["primary_failed"] is None:
        return
    if lab["change_seen_after"] is None:
        yield "  its better branch failed; no change of its route was seen"
        return
    change = next(each for each in lab["route_changes"] if each["time"] >= lab["primary_failed"])
    yield (
        f"  its better branch failed; {lab['change_seen_after']:.0f} s later it was seen "
        f"to go by {_way(change['after']['hops'])} instead of {_way(change['before']['hops'])}"
    )


def _way(hops: Sequence[str | None]) -> str:
    """Return the routers of a route, without the target at its end."""
    return ", ".join(hop or _UNKNOWN for hop in hops[:-1])


def _seen(seen: RouteObservation) -> dict[str, Any]:
    return {"time": seen.seen_ns / NS_PER_S, "flow": seen.route.flow, **_route(seen.route)}


def _change(change: RouteObservation) -> dict[str, Any]:
    assert change.previous is not None
    return {
        "time": change.seen_ns / NS_PER_S,
        "flow": change.route.flow,
        "before": _route(change.previous),
        "after": _route(change.route),
    }


def _route(route: Route) -> dict[str, Any]:
    return {
        "protocol": route.protocol.value,
        "hops": [hop.address for hop in route.hops],
        "reached": route.reached,
        "path_mtu": route.path_mtu,
    }


def _reading(reading: Reading) -> dict[str, Any]:
    return {
        "time": reading.seen_ns / NS_PER_S,
        "direction": reading.direction,
        "method": reading.method,
    }


def _bandwidth(reading: Reading, true: float | None) -> dict[str, Any]:
    return {**_reading(reading), "bits_per_second": reading.value, "truth": true}
