"""What is said of a test to a person, where figures beside each other tell more than each alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fresh_tcp_info import FRESH

from analytics.sketch import Sketch
from probes.bandwidth.result import LoadedLatency, Throughput
from probes.bandwidth.throughput import Samples, throughput
from probes.bandwidth.view import queued_at_sender

INFO = replace(FRESH, ssthresh=10)


def told(rtt_s: float) -> Throughput:
    samples = Samples()
    for step in range(100):
        samples.add(step * 0.05, [replace(INFO, rtt_s=rtt_s, bytes_acked=step * 1000)])
    return throughput(samples, "cubic", "time")


def latency(loaded_s: float, by: str = "stamp") -> LoadedLatency:
    sketch = Sketch()
    sketch.add([loaded_s] * 100)
    return LoadedLatency(by, Sketch(), sketch)


@pytest.mark.parametrize(
    ("tcp_s", "loaded", "queued"),
    [
        (0.050, latency(0.00002), True),  # the sender's own queue
        (0.050, latency(0.049), False),  # a router's
        (0.120, latency(0.060), True),  # one of each
        (0.004, latency(0.00002), False),  # too little to say
        (0.050, latency(0.00002, "tcp control"), False),  # which waits there as well
        (0.050, LoadedLatency("stamp"), False),  # no answer
    ],
)
def test_a_queue_that_stamps_do_not_see_is_told_by_tcps_own_round_trips(
    tcp_s: float, loaded: LoadedLatency, *, queued: bool
) -> None:
    assert queued_at_sender(told(tcp_s), loaded) is queued
