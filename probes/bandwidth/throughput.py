"""From samples of TCP_INFO to goodput. No socket, no clock."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from probes.bandwidth.result import Throughput
from probes.bandwidth.steady import rate_of
from probes.bandwidth.tcp_info import CA_LOSS, CA_OPEN, TcpInfo

WARM_UP_S: Final = 1.0  # at least
_WARM_UP_SHARE: Final = 1 / 3  # at most, of the test
_SAMPLES_MIN: Final = 3


@dataclass(slots=True)
class Samples:
    """What the sender's kernel said of each of its connections, again and again.

    `infos[k]` was read at `times_s[k]`, one for each connection, all within `spans_s[k]`.
    """

    times_s: list[float] = field(default_factory=list)  # monotonic
    infos: list[tuple[TcpInfo, ...]] = field(default_factory=list)

    def add(self, time_s: float, infos: Sequence[TcpInfo]) -> None:
        self.times_s.append(time_s)
        self.infos.append(tuple(infos))

    def delivered(self, at: int) -> int:
        """Return what the far end had of all connections together, at a sample; octets."""
        return sum(info.delivered for info in self.infos[at])


def warm_up_end(samples: Samples) -> int:
    """Return the first sample after slow start.

    Every connection has met its limit and is out of trouble by then, a second has passed; but a
    third of the time is the most that is left out, where the limit is never met.
    """
    began_s = samples.times_s[0]
    length_s = samples.times_s[-1] - began_s
    least_s = min(WARM_UP_S, length_s * _WARM_UP_SHARE)
    for place, (time_s, infos) in enumerate(zip(samples.times_s, samples.infos, strict=True)):
        past_s = time_s - began_s
        settled = all(not info.in_slow_start and info.ca_state == CA_OPEN for info in infos)
        if past_s >= least_s and (settled or past_s >= length_s * _WARM_UP_SHARE):
            return place
    return len(samples.times_s) - 1


def throughput(samples: Samples, congestion: str, ended_by: str) -> Throughput:
    """Return what the connections carried."""
    if len(samples.times_s) < _SAMPLES_MIN or samples.times_s[-1] <= samples.times_s[0]:
        return _nothing(samples, congestion, ended_by, "the test was too short to tell")
    first, last = warm_up_end(samples), len(samples.times_s) - 1
    measured_s = samples.times_s[last] - samples.times_s[first]
    begin, end = samples.infos[first], samples.infos[last]
    if last - first < _SAMPLES_MIN - 1 or measured_s <= 0:
        return _nothing(samples, congestion, ended_by, "the test ended during slow start")
    octets = [late.delivered - early.delivered for early, late in zip(begin, end, strict=True)]
    if sum(octets) <= 0:
        return _nothing(samples, congestion, ended_by, "nothing was acknowledged")
    rtts_s = [info.rtt_s for infos in samples.infos[first:] for info in infos]
    rate = rate_of(
        np.array(samples.times_s[first:]),
        np.array([samples.delivered(at) for at in range(first, last + 1)], float),
        robust=not _timed_out(samples.infos[first:]),
    )
    share = rate.bit_per_s / sum(octets)
    return Throughput(
        goodput_bit_per_s=rate.bit_per_s,
        octets=_acked(samples),
        measured_s=measured_s,
        warm_up_s=samples.times_s[first] - samples.times_s[0],
        by_stream_bit_per_s=tuple(max(0.0, each * share) for each in octets),
        segment_octets=end[0].mss,
        sent_segments=sum(info.segments_out for info in end),
        retransmitted_segments=sum(info.retransmitted for info in end),
        min_rtt_s=min(info.min_rtt_s for info in end),
        rtt_s=statistics.median(rtts_s),
        congestion=congestion,
        busy=_share([i.busy_s for i in begin], [i.busy_s for i in end], measured_s),
        receiver_limited=_share(
            [i.receiver_limited_s for i in begin], [i.receiver_limited_s for i in end], measured_s
        ),
        sender_limited=_share(
            [i.sender_limited_s for i in begin], [i.sender_limited_s for i in end], measured_s
        ),
        ended_by=ended_by,
        average_bit_per_s=rate.average_bit_per_s,
        low_bit_per_s=rate.low_bit_per_s,
        high_bit_per_s=rate.high_bit_per_s,
        steady=rate.steady,
        stalled=rate.stalled,
    )


def _timed_out(infos: Sequence[Sequence[TcpInfo]]) -> bool:
    """Return whether a connection's retransmission timer ran out.

    Before Linux 6.7 a recovery shows only if it lasted until a sample.
    """
    return any(info.ca_state == CA_LOSS for each in infos for info in each) or any(
        early.timeouts != late.timeouts for early, late in zip(infos[0], infos[-1], strict=True)
    )


def _acked(samples: Samples) -> int:
    """Return the octets acknowledged since the first sample, all connections together."""
    if not samples.infos:
        return 0
    pairs = zip(samples.infos[0], samples.infos[-1], strict=True)
    return max(0, sum(late.bytes_acked - early.bytes_acked for early, late in pairs))


def _share(
    before: Sequence[float | None], after: Sequence[float | None], measured_s: float
) -> float | None:
    """Return which part of the time the connections spent so, on average; None: not told."""
    spans = [
        late - early
        for early, late in zip(before, after, strict=True)
        if early is not None and late is not None
    ]
    if not spans:
        return None
    return min(1.0, max(0.0, sum(spans) / len(spans) / measured_s))


def _nothing(samples: Samples, congestion: str, ended_by: str, why: str) -> Throughput:
    last = samples.infos[-1] if samples.infos else ()
    if ended_by != "time":
        why = f"{why}; {ended_by}"
    return Throughput(
        goodput_bit_per_s=None,
        octets=_acked(samples),
        measured_s=0.0,
        warm_up_s=0.0,
        by_stream_bit_per_s=(),
        segment_octets=last[0].mss if last else 0,
        sent_segments=sum(info.segments_out for info in last),
        retransmitted_segments=sum(info.retransmitted for info in last),
        min_rtt_s=None,
        rtt_s=None,
        congestion=congestion,
        busy=None,
        receiver_limited=None,
        sender_limited=None,
        ended_by=ended_by,
        why=why,
    )
