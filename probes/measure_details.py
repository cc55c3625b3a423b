"""What `measure rtt` says beside the round trip: loss, one-way delays, marks, routes and clocks.

From the JSON shape of one target, so that a person reads no figure which a script cannot have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from netslo.units import TimeUnit, format_percent, time_unit

_WAYS: Final = {"forward": "there", "reverse": "back"}
_SHOWN: Final = ("0.5", "0.99")
_WITHHELD: Final = {
    "unsynchronised": "one of the clocks does not follow UTC",
    "imprecise": "the clocks may be off by more than the delays",
    "untold": "the far end does not say when packets came and left",
}


def detail_lines(shape: Mapping[str, Any], dscp: int | None = None) -> Iterator[str]:
    """Yield what there is to say of one target; `dscp` is what was sent, where that is known."""
    yield from _loss(shape)
    yield from _variation(shape["jitter"])
    yield from _one_way(shape["delay"])
    yield from _marks(shape["remarked"], dscp)
    yield from _routes(shape["ttl_changes"])
    yield from _clock(shape["clock"])


def _loss(shape: Mapping[str, Any]) -> Iterator[str]:
    loss, lost = shape["loss"], shape["lost"]
    if not lost:
        return
    there, back = loss["forward"], loss["reverse"]
    if there or back:
        unknown = f", {loss['undetermined']} not known where" if loss["undetermined"] else ""
        yield f"lost: {there} on the way there, {back} on the way back{unknown}"
    elif shape["kind"] == "icmp":
        yield "lost on which way is not known: an echo does not tell"
    else:
        yield "lost on which way is not known: no count of the far end's own came back"
    if loss["lengths"]:
        lengths = sorted((int(length), count) for length, count in loss["lengths"].items())
        bursts = ", ".join(f"{count:,} of {length}" for length, count in lengths)
        yield f"losses in a row (RFC 3357): {bursts}"
    p, r = loss["gilbert"]["p"], loss["gilbert"]["r"]
    if p is not None or r is not None:
        yield (
            f"after an answer {format_percent(p)} are lost, "
            f"after a loss {format_percent(r)} answered (Gilbert's p and r)"
        )


def _variation(jitter: Mapping[str, Any]) -> Iterator[str]:
    ipdv = jitter["ipdv"]
    if not ipdv["count"]:
        return
    unit = _unit_of(ipdv)
    yield f"from packet to packet (|IPDV|, RFC 3393) {_quantiles(ipdv, unit)} {unit.name}"


def _one_way(delay: Mapping[str, Any]) -> Iterator[str]:
    for direction, way in _WAYS.items():
        figures = delay[direction]
        found, variation = figures["delay"], figures["variation"]
        why = _WITHHELD.get(figures["why"], figures["why"])
        if found["count"]:
            unit = _unit_of(found)
            error = delay["error"]
            sure = "" if error is None else f", off by at most {unit.format(error)}"
            partly = f"; of other packets not said: {why}" if why else ""
            yield f"one way {way} {_quantiles(found, unit)} {unit.name}{sure}{partly}"
        elif why:
            yield f"one way {way} not said: {why}"
        if variation["count"]:
            unit = _unit_of(variation)
            yield f"  its variation {_quantiles(variation, unit)} {unit.name}, whatever the clocks"
        if figures["negative"]:
            yield f"  {figures['negative']:,} packets came before they left: the clocks disagree"


def _marks(remarked: Mapping[str, int], dscp: int | None) -> Iterator[str]:
    if remarked:
        seen = ", ".join(f"{value} on {count:,} packets" for value, count in remarked.items())
        sent = "" if dscp is None else f" instead of {dscp}"
        yield f"DSCP changed on the way: the far end saw {seen}{sent}"


def _routes(changes: Mapping[str, int]) -> Iterator[str]:
    for direction, way in _WAYS.items():
        times = changes[direction]
        if times:
            yield f"the way {way} changed its number of hops, {times:,} times"


def _clock(clock: Mapping[str, Any]) -> Iterator[str]:
    offset, error = clock["offset"], clock["error"]
    if offset is not None and error is not None:
        unit = time_unit(max(abs(offset), error))
        yield (
            f"clock of the far end {unit.format(offset)} {unit.name} against ours, "
            f"give or take {unit.format(error)}"
        )


def _unit_of(figures: Mapping[str, Any]) -> TimeUnit:
    return time_unit(figures["quantiles"]["0.5"]["value"])


def _quantiles(figures: Mapping[str, Any], unit: TimeUnit) -> str:
    return ", ".join(
        f"p{float(q) * 100:g} {unit.format(figures['quantiles'][q]['value'])}" for q in _SHOWN
    )
