"""The emulator's log: every packet that entered it and what became of it. It is the truth."""

from __future__ import annotations

import enum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

FORWARD: Final = 0  # from a to b
REVERSE: Final = 1
UDP: Final = 17  # IP protocols
ICMP: Final = 1
ICMPV6: Final = 58


class Verdict(enum.IntEnum):
    """What became of a packet."""

    UNDER_WAY = 0  # still in the emulator
    DELIVERED = 1
    LOST = 2
    QUEUE_FULL = 3  # dropped at the bottleneck, or because the emulator holds no more
    EXPIRED = 4  # TTL or hop limit used up
    REFUSED = 5  # the far device would not take it


# One row a packet, in order of arrival; a duplicate's copy has a row of its own. Times are Unix
# nanoseconds (CLOCK_REALTIME), -1 stands for "has none", 0 in `release_ns` for "not released".
# A packet is taken from its sender before `arrival_ns` and reaches its receiver after
# `release_ns`, so what a probe measures by its own clock is never less than the log says.
LOG: Final = np.dtype(
    [
        ("arrival_ns", np.int64),
        ("due_ns", np.int64),  # when it was to be released
        ("release_ns", np.int64),  # when it was: directly before it was written
        ("index", np.int64),  # counts arrivals of the direction; a copy has its original's
        ("sequence", np.int64),  # octets 0-3 of a UDP payload; ICMP echo: id << 16 | sequence
        ("sender_sequence", np.int64),  # octets 24-27: a STAMP reply repeats its request's here
        ("sender_sequence_authenticated", np.int64),  # octets 48-51: likewise, RFC 8762 4.3.2
        ("source_port", np.int32),  # of UDP and TCP
        ("destination_port", np.int32),
        ("length", np.uint16),  # of the IP packet, octets
        ("direction", np.uint8),
        ("copy", np.uint8),  # 1 for the copy that duplication made
        ("verdict", np.uint8),
        ("version", np.uint8),  # of IP
        ("protocol", np.uint8),  # IPv4 protocol or IPv6 next header
        ("dscp", np.uint8),  # as it arrived
        ("dscp_out", np.uint8),  # as it left
    ],
    align=True,
)

Rows = NDArray[np.void]  # of LOG

# The memory in which the emulator writes it: a header of int64, from LOG_BEGIN on the rows.
ROWS: Final = 0  # places in the header: rows in use
HELD: Final = 1  # packets in the emulator
HEADER: Final = 2
LOG_BEGIN: Final = 64


def select(log: Rows, **wanted: int) -> Rows:
    """Return the rows whose columns have these values: `select(log, protocol=UDP, version=6)`."""
    chosen = np.ones(len(log), dtype=np.bool_)
    for column, value in wanted.items():
        chosen &= log[column] == value
    return log[chosen]


def arrivals(log: Rows, direction: int) -> Rows:
    """Return the packets that entered, in order: all rows of the direction without copies."""
    return select(log, direction=direction, copy=0)


def deliveries(log: Rows, direction: int) -> Rows:
    """Return what was delivered, copies too, in the order in which it was."""
    rows = select(log, direction=direction, verdict=Verdict.DELIVERED)
    return rows[np.argsort(rows["release_ns"], kind="stable")]


def duplicates(log: Rows, direction: int) -> Rows:
    """Return the copies that were delivered beside their original."""
    return select(log, direction=direction, copy=1, verdict=Verdict.DELIVERED)


def reordered(log: Rows, direction: int) -> Rows:
    """Return the packets which RFC 4737 calls reordered: delivered after one that entered later.

    Copies count for nothing. Give the rows of one flow to learn its order alone.
    """
    rows = select(deliveries(log, direction), copy=0)
    if not len(rows):
        return rows
    return rows[rows["index"] < np.maximum.accumulate(rows["index"])]


def bursts(log: Rows, direction: int) -> NDArray[np.int64]:
    """Return the lengths, in packets, of the runs of losses in order of arrival.

    Loss is what the link drew, not a full queue. Runs cut by the first or last row count too.
    """
    lost = arrivals(log, direction)["verdict"] == Verdict.LOST
    edges = np.diff(np.concatenate(([0], lost.astype(np.int8), [0])))
    return np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)


def rtt_of(
    log: Rows, request_key: str = "sequence", reply_key: str = "sequence", **flow: Any
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the keys of the packets answered, ascending, and what both ways added, in ns.

    What the far end took to answer is not in it. Of several deliveries with one key the first
    counts.

    Args:
        log: All rows.
        request_key: The column that names a request, in the forward direction.
        reply_key: The column by which its reply names it; `sender_sequence` for a stateful STAMP
            reflector, `sender_sequence_authenticated` for an authenticated one.
        flow: Columns of the requests as for `select`, such as `destination_port`; replies are
            taken with the ports exchanged.
    """
    exchanged = {"source_port": "destination_port", "destination_port": "source_port"}
    back = {exchanged.get(column, column): value for column, value in flow.items()}
    there = _first(select(deliveries(log, FORWARD), **flow), request_key)
    again = _first(select(deliveries(log, REVERSE), **back), reply_key)
    keys, at_there, at_again = np.intersect1d(
        there[request_key], again[reply_key], assume_unique=True, return_indices=True
    )
    return keys, transit_ns(there[at_there]) + transit_ns(again[at_again])


def transit_ns(rows: Rows) -> NDArray[np.int64]:
    """Return how long each delivered packet was in the emulator, in ns."""
    span: NDArray[np.int64] = rows["release_ns"] - rows["arrival_ns"]
    return span


def _first(rows: Rows, key: str) -> Rows:
    """Return the first row of each key that is there, by ascending key."""
    rows = rows[rows[key] >= 0]
    return rows[np.unique(rows[key], return_index=True)[1]]
