"""From arrival times of packet trains to capacity. No socket, no clock.

A train of packets that leaves at once reaches the far end as far apart as the narrowest link
lets them: octets by time between arrivals is that link's rate, whatever else it carries, as
long as others' packets do not come in between. So each window of ten gaps is a rate, a train's
is the median of its windows, and the path's the median over the trains. The first third of a
train is left out: a token bucket lets a burst through faster than its rate. Where that is longer,
only the last third of the windows counts, if they have settled.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Final

import numpy as np

from probes.bandwidth.result import Capacity

TRAINS_MIN: Final = 5
PACKETS_MIN: Final = 30
PACKETS_MAX: Final = 200
TOKEN_SIZE: Final = 16
IP4_UDP: Final = 28  # octets of headers
IP6_UDP: Final = 48
ETHERNET: Final = 14
PAYLOAD_MAX: Final = 1472  # fills 1,500 octets of IPv4
PAYLOAD_MIN: Final = 200
_GAPS: Final = 10  # of a window
_WINDOWS_MIN: Final = 5  # of a train, to use it
_SKIPPED: Final = 1 / 3  # of a train
_LAST: Final = 1 / 3  # of its windows
_SETTLED: Final = 1.2  # so much faster than the end is a burst still
_BURST: Final = 1.1  # so much faster at the beginning: a token bucket
_SENDER: Final = 0.9  # of the rate at which the train left: then it is the sender's own
_NS: Final = 1e9

_HEADER: Final = Struct(f"!{TOKEN_SIZE}sII")  # token, train, packet


@dataclass(frozen=True, slots=True)
class Train:
    """One train as it arrived: packets' numbers, and kernel times in ns, in order of arrival."""

    sent: int  # packets
    span_ns: int  # which the sender took to send them
    arrivals: tuple[tuple[int, int], ...]


def encode_packet(token: bytes, train: int, number: int, filling: bytes) -> bytes:
    """Return a datagram of a train, as long as the header and the filling."""
    return _HEADER.pack(token, train, number) + filling


def filling_size(payload: int) -> int:
    """Return how much filling a datagram of so many octets has."""
    return payload - _HEADER.size


def decode_packet(datagram: bytes, token: bytes, train: int, packets: int) -> int | None:
    """Return a datagram's number in a train; None: it is none of that train."""
    if len(datagram) < _HEADER.size:
        return None
    found, number, place = _HEADER.unpack_from(datagram)
    return place if (found, number) == (token, train) and place < packets else None


def capacity(trains: Sequence[Train], payload: int, headers: int = IP4_UDP) -> Capacity:
    """Return what trains of datagrams of `payload` octets say.

    Args:
        trains: All that were sent, with what arrived of each.
        payload: Octets of UDP payload.
        headers: Octets of IP and UDP header before it.
    """
    size = payload + headers
    told = [each for each in (_told(train, size) for train in trains) if each is not None]
    found = _Found(
        len(trains),
        sum(t.sent for t in trains),
        size + ETHERNET,
        sum(len(t.arrivals) for t in trains),
    )
    usable = len(told)
    if usable < TRAINS_MIN:
        return found.nothing(usable, _too_few(found, usable))
    rates = [each.rate for each in told]
    shaped = sum(each.bursts for each in told) * 2 > usable
    if statistics.median(each.slowing for each in told) > _SETTLED:  # a burst goes on
        if statistics.median(each.falling for each in told) > _SETTLED:
            return found.nothing(
                usable, "a token bucket lets most of a train pass at once, before its rate holds"
            )
        rates, shaped = [each.end for each in told], True
    if statistics.median(r >= each.left * _SENDER for r, each in zip(rates, told, strict=True)):
        return found.nothing(
            usable,
            f"this path is faster than the sender can send ({_mbit(statistics.median(rates))}), "
            "or a token bucket on it lets whole trains pass at once",
        )
    low, middle, high = np.quantile(rates, [0.25, 0.5, 0.75]).tolist()
    return Capacity(
        bit_per_s=middle,
        frames_bit_per_s=middle * (size + ETHERNET) / size,
        trains=found.trains,
        usable=usable,
        sent=found.sent,
        arrived=found.arrived,
        spread=(high - low) / middle,
        shaped=shaped,
        octets=found.octets,
    )


def octets_of(trains: int, packets: int, payload: int, headers: int) -> int:
    """Return what trains take of a link, in octets of frames."""
    return trains * packets * (payload + headers + ETHERNET)


@dataclass(frozen=True, slots=True)
class _Told:
    """What one train tells; rates in bit/s of IP packets."""

    rate: float  # of all its windows
    end: float  # of the last of them
    bursts: bool  # it began faster
    slowing: float  # its first window by its end
    falling: float  # likewise, within the last windows
    left: float  # the rate at which it left


def _told(train: Train, size: int) -> _Told | None:
    """Return what a train tells; None where too little of it arrived."""
    windows = _windows(train, size)
    if len(windows) < _WINDOWS_MIN:
        return None
    last = windows[-math.ceil(len(windows) * _LAST) :]
    rate, end = statistics.median(windows), statistics.median(last)
    bits = (train.sent - 1) * size * 8
    return _Told(
        rate=rate,
        end=end,
        bursts=_beginning(train, size) > rate * _BURST,
        slowing=windows[0] / end,
        falling=last[0] / last[-1],
        left=bits * _NS / train.span_ns if train.span_ns > 0 else math.inf,
    )


@dataclass(frozen=True, slots=True)
class _Found:
    trains: int
    sent: int
    frame: int
    arrived: int

    @property
    def octets(self) -> int:
        return self.sent * self.frame

    def nothing(self, usable: int, why: str) -> Capacity:
        return Capacity(
            bit_per_s=None,
            frames_bit_per_s=None,
            trains=self.trains,
            usable=usable,
            sent=self.sent,
            arrived=self.arrived,
            spread=None,
            shaped=False,
            octets=self.octets,
            why=why,
        )


def _too_few(found: _Found, usable: int) -> str:
    return (
        f"{usable} of {found.trains} trains were usable, at least {TRAINS_MIN} must be: "
        f"{found.arrived} of {found.sent} packets arrived"
    )


def _windows(train: Train, size: int) -> list[float]:
    """Return the rate in each window of gaps in the last two thirds, bit/s.

    Only packets that follow each other count: what was lost after the narrowest link took its
    time there too. A window whose times go backwards is none: the clock was set.
    """
    rates = []
    first = math.ceil(train.sent * _SKIPPED)
    kept = [(n, t) for n, t in train.arrivals if n >= first]
    for at in range(len(kept) - _GAPS):
        window = kept[at : at + _GAPS + 1]
        in_order = all(b[0] == a[0] + 1 and b[1] >= a[1] for a, b in itertools.pairwise(window))
        span_ns = window[-1][1] - window[0][1]
        if in_order and span_ns > 0:
            rates.append(_GAPS * size * 8 * _NS / span_ns)
    return rates


def _beginning(train: Train, size: int) -> float:
    """Return the rate of the first window, bit/s; 0 where it is not whole."""
    window = train.arrivals[: _GAPS + 1]
    if [n for n, _ in window] != list(range(_GAPS + 1)):
        return 0.0
    span_ns = window[-1][1] - window[0][1]
    return _GAPS * size * 8 * _NS / span_ns if span_ns > 0 else math.inf


def _mbit(bit_per_s: float) -> str:
    return f"{bit_per_s / 1e6:.4g} Mbit/s"
