"""What `netslo measure bandwidth` says to a person: while it runs, and when it is over."""

from __future__ import annotations

import time
from collections import deque
from typing import Final

import click
from rich.text import Text

from netslo.units import format_ms, format_octets, format_percent
from probes.bandwidth.measuring import BandwidthMeasuring
from probes.bandwidth.plan import Direction, Method
from probes.bandwidth.result import (
    BandwidthResult,
    Capacity,
    DirectionResult,
    LoadedLatency,
    Received,
    Throughput,
)

_TITLES: Final = {Method.TRAIN: "packet trains", Method.TCP: "TCP", Method.IPERF3: "iperf3"}
_WAYS: Final = {
    Direction.FORWARD: "forward (from here to there)",
    Direction.REVERSE: "reverse (from there to here)",
}
_BARS: Final = "▁▂▃▄▅▆▇█"
_CHART: Final = 40  # characters
_CHART_S: Final = 0.25  # of each
_LIMITED: Final = 0.02  # of the time: worth a word
_STALLED: Final = 0.0005  # likewise
_OWN_QUEUE_S: Final = 0.005
_OWN_QUEUE_TIMES: Final = 1.5
_OWN_QUEUE: Final = (
    "TCP's own round trips were longer: most likely its packets waited in the sending host's "
    "own queue, which is not in these"
)
_SHAPED: Final = (
    "trains begin faster than they go on: a token bucket lets a burst of "
    "packets pass before its rate holds"
)


class Chart:
    """A line with the rate of the load under way, and how it came to it."""

    def __init__(self, measuring: BandwidthMeasuring) -> None:
        self._measuring = measuring
        self._rates: deque[float] = deque(maxlen=_CHART)
        self._load: object = None
        self._seen = (0.0, 0)

    def line(self) -> Text:
        """Return the line as it is now."""
        measuring, now_s = self._measuring, time.monotonic()
        progress = measuring.progress
        if self._load is not progress:
            self._load = progress
            self._rates.clear()
            self._seen = (now_s, 0)
        if not progress.begun or progress.ended:
            return Text(f"{measuring.phase} ...")
        then_s, then = self._seen
        octets = progress.octets
        if now_s - then_s >= _CHART_S and octets > then:
            self._rates.append((octets - then) * 8 / (now_s - then_s))
            self._seen = (now_s, octets)
        past_s = now_s - progress.began_s
        rate = f"{self._rates[-1] / 1e6:.4g} Mbit/s, " if self._rates else ""
        of = f"{past_s:.1f} of {measuring.plan.seconds:g} s"
        return Text(f"{measuring.phase}  {bars(self._rates)}  {rate}{of}")


def bars(rates: deque[float]) -> str:
    """Return a bar for each rate, the highest at the top."""
    top = max(rates, default=0.0)
    if top <= 0:
        return ""
    return "".join(_BARS[min(len(_BARS) - 1, int(rate / top * len(_BARS)))] for rate in rates)


def say_octets(expected: int, most: int) -> str:
    """Return what a test is about to use."""
    if expected == most:
        return f"about to use {format_octets(most)}"
    return f"about to use {format_octets(expected)}, {format_octets(most)} at most"


def print_bandwidth(result: BandwidthResult) -> None:
    """Say what came of it."""
    where = (
        result.target
        if result.address in ("", result.target)
        else (f"{result.target} ({result.address})")
    )
    click.echo(f"bandwidth to {where}, {_TITLES[result.method]}")
    for found in result.directions:
        _print_direction(found)
    click.echo(f"used {format_octets(result.octets_used)}")
    if result.stopped:
        click.echo("stopped before the end")


def _print_direction(found: DirectionResult) -> None:
    click.echo(_WAYS[found.direction])
    if found.throughput is not None:
        _print_throughput(found.throughput, found.received)
    if found.capacity is not None:
        _print_capacity(found.capacity)
    if found.loaded is not None:
        _print_latency(found.loaded)
        if found.throughput is not None and queued_at_sender(found.throughput, found.loaded):
            _print("", _OWN_QUEUE)
    if found.failure is not None:
        _print("failed", found.failure)


def queued_at_sender(told: Throughput, latency: LoadedLatency) -> bool:
    """Return whether TCP's round trips were so long that its packets waited where STAMP's did not.

    Kernels stamp a STAMP packet when it leaves a host, behind that host's own queue.
    """
    loaded_s = latency.quantile("loaded", 0.5)
    if latency.by != "stamp" or loaded_s is None or told.rtt_s is None:
        return False
    return told.rtt_s > _OWN_QUEUE_TIMES * loaded_s + _OWN_QUEUE_S


def _print(title: str, text: str) -> None:
    click.echo(f"  {title:16}{text}")


def _print_throughput(told: Throughput, received: Received | None) -> None:
    if told.goodput_bit_per_s is None:
        _print("goodput", f"no figure: {told.why}")
        return
    after = f", {told.warm_up_s:.1f} s of slow start left out" if told.warm_up_s else ""
    _print(
        "goodput", f"{mbit(told.goodput_bit_per_s)} of TCP payload, {told.measured_s:.2f} s{after}"
    )
    if told.low_bit_per_s is not None and told.high_bit_per_s is not None:
        _print("", f"{mbit(told.low_bit_per_s)} to {mbit(told.high_bit_per_s)} at 95 %")
    if told.average_bit_per_s is not None and told.stalled >= _STALLED:
        stalled = f"stalls of {format_percent(told.stalled)} of the time left out"
        _print("", f"{stalled}; with them {mbit(told.average_bit_per_s)}")
    streams = told.by_stream_bit_per_s
    if len(streams) > 1:
        spread = f"{mbit(min(streams))} to {mbit(max(streams))} each"
        _print("", f"{len(streams)} connections, {spread}")
    lost = "not told"
    if told.retransmitted_segments is not None:
        lost = f"{told.retransmitted_segments:,} segments"
    if told.retransmitted_segments is not None and told.sent_segments:
        share = format_percent(told.retransmitted_segments / told.sent_segments)
        lost = f"{told.retransmitted_segments:,} of {told.sent_segments:,} segments ({share})"
    _print("retransmitted", lost)
    rtt = f"min {format_ms(told.min_rtt_s)} ms, median of the smoothed {format_ms(told.rtt_s)} ms"
    _print("sender's RTT", f"{rtt}; congestion control {told.congestion or 'not told'}")
    _print("limited by", _limit(told))
    if received is not None:
        _print("received", format_octets(received.octets))
    if told.ended_by != "time":
        _print("ended by", told.ended_by)


def _limit(told: Throughput) -> str:
    if told.receiver_limited is None or told.sender_limited is None:
        return "not told"
    shares = {
        "the receiver's window": told.receiver_limited,
        "the send buffer": told.sender_limited,
        "the sending host, busy elsewhere": 0.0 if told.busy is None else 1 - told.busy,
    }
    said = [
        f"{what} ({format_percent(each, 0)} of the time)"
        for what, each in shares.items()
        if each > _LIMITED
    ]
    return ", ".join(said) or "the network, all the time"


def _print_capacity(told: Capacity) -> None:
    counts = f"{told.usable} of {told.trains} trains, {told.arrived:,} of {told.sent:,} packets"
    if told.bit_per_s is None or told.frames_bit_per_s is None:
        _print("capacity", f"no figure: {told.why}")
        return
    layers = (
        f"{mbit(told.bit_per_s)} of IP packets (L3), {mbit(told.frames_bit_per_s)} of frames (L2)"
    )
    _print("capacity", layers)
    _print("", f"{counts}, spread {format_percent(told.spread)}: {told.quality}")
    if told.shaped:
        _print("", _SHAPED)


def _print_latency(told: LoadedLatency) -> None:
    names = {"stamp": "STAMP", "tcp control": "requests on the control channel"}
    by = f"by {names.get(told.by, told.by)}, timestamps of class {told.quality or '-'}"
    for state, sketch, lost in (
        ("idle", told.idle, told.idle_lost),
        ("loaded", told.loaded, told.loaded_lost),
    ):
        if not sketch.count:
            _print(f"{state} RTT", f"not known: no answer ({lost} lost)")
            continue
        figures = ", ".join(
            f"p{q * 100:g} {format_ms(told.quantile(state, q))} ms{_interval(told, state, q)}"
            for q in (0.5, 0.99)
        )
        _print(
            f"{state} RTT", f"{figures}; {sketch.count} {by}" + (f", {lost} lost" if lost else "")
        )
    if told.round_trips_per_minute is None:
        return
    bloat = ", ".join(f"p{q * 100:g} {format_ms(told.bufferbloat_s(q))} ms" for q in (0.5, 0.99))
    _print("bufferbloat", f"{bloat} (loaded minus idle)")
    _print(
        "responsiveness",
        f"{told.round_trips_per_minute:,.0f} round trips a minute (60 s by the median loaded RTT)",
    )


def _interval(told: LoadedLatency, state: str, q: float) -> str:
    sketch = told.idle if state == "idle" else told.loaded
    low, high = sketch.interval(q)
    if low is None:
        return ""
    return (
        f" ({format_ms(low)} to {format_ms(high)})"
        if high is not None
        else f" (≥ {format_ms(low)})"
    )


def mbit(bit_per_s: float) -> str:
    """Write a rate for a person."""
    return f"{bit_per_s / 1e9:.4g} Gbit/s" if bit_per_s >= 1e9 else f"{bit_per_s / 1e6:.4g} Mbit/s"  # noqa: PLR2004
