"""What the emulator's log says of each packet of one STAMP or ICMP session, by its number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .wan_log import FORWARD, REVERSE, Rows, deliveries, rtt_of, select

STAMP_REPLY = "sender_sequence"  # the columns by which a reply names its request
AUTHENTICATED_REPLY = "sender_sequence_authenticated"
ECHO_REPLY = "sequence"


@dataclass(frozen=True)
class Truth:
    """Of packets 0 to n-1; shape (n,) where nothing else is said."""

    answered: NDArray[np.bool_]  # at least one reply was delivered
    rtt_ns: NDArray[np.int64]  # in the emulator, both ways; 0 where not answered
    away_ns: NDArray[np.int64]  # from its arrival to its first reply's release, with the far end's
    reached: NDArray[np.bool_]  # the far end sent a reply, whatever became of it
    duplicates: NDArray[np.int64]  # replies beyond the first
    reordered: NDArray[np.bool_]  # the first reply came after that of a later packet (RFC 4737)

    @property
    def bursts(self) -> list[int]:
        """Lengths of the runs of unanswered packets, in the order of sending (RFC 3357)."""
        return runs(~self.answered)


def truth(log: Rows, count: int, reply: str = STAMP_REPLY, mask: int = -1) -> Truth:
    """Return what happened to a session's packets; the log holds nothing else of its protocols.

    What a full socket of the reflector dropped was delivered, and has no reply: it is lost, and
    the log knows. Only a drop at the prober's own door it does not know.

    Args:
        log: The rows of the session's packets and of the replies.
        count: How many were sent.
        reply: The column of the reply that repeats the request's number.
        mask: What of the number counts: 0xFFFF for ICMP, where an identifier stands before it.
    """
    log = log.copy()
    for column in {"sequence", reply}:
        log[column] &= mask
    came = deliveries(log, REVERSE)[reply]
    numbers, first, times = np.unique(came, return_index=True, return_counts=True)
    assert ((numbers >= 0) & (numbers < count)).all(), "the log has packets of others"
    answered, late = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    duplicates, rtt_ns = np.zeros(count, np.int64), np.zeros(count, np.int64)
    answered[numbers] = True
    duplicates[numbers] = times - 1
    in_order = came[np.sort(first)]
    late[in_order[in_order < np.maximum.accumulate(in_order)]] = True
    keys, spans_ns = rtt_of(log, reply_key=reply)
    rtt_ns[keys] = spans_ns
    away_ns = np.zeros(count, np.int64)
    back = deliveries(log, REVERSE)[np.sort(first)]
    gone = select(log, direction=FORWARD, copy=0)
    begun_ns = np.zeros(count, np.int64)
    begun_ns[gone["sequence"]] = gone["arrival_ns"]
    away_ns[in_order] = back["release_ns"] - begun_ns[in_order]
    reached = np.zeros(count, np.bool_)
    reached[select(log, direction=REVERSE)[reply]] = True
    return Truth(answered, rtt_ns, away_ns, reached, duplicates, late)


def runs(marked: NDArray[np.bool_]) -> list[int]:
    """Return the lengths of the runs of True, in order."""
    edges = np.diff(np.concatenate(([0], marked.astype(np.int8), [0])))
    lengths: list[int] = (np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)).tolist()
    return lengths
