"""What the measuring loop works on: arrays that Python and the loop share.

Threads that run the loop take turns, each holding `mutex` while it works. So does whoever changes
anything while they run; if there are other arrays then, `GENERATION` goes up. Others may write
`error` of a session, read `rows` from `tail` to before `head` and then move `tail` on, and read a
session's counters and its watermark.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from probes._kernels.libc import Messages
from probes.channel import LATE_REPLY, OVERLONG, STALE_DUPLICATE
from probes.outcome import OUTCOME
from probes.stamp.events import FollowUpFault, ReplyFault

BATCH: Final = 64  # datagrams of one system call
NUMBERS: Final = 1 << 14  # packets of one socket whose transmit timestamp may be waited for
SSIDS: Final = 1 << 16
KINDS: Final = 2  # of packets: unauthenticated and authenticated
SOURCE: Final = "from another address than the target's"

# Why a datagram was of no use, in the order of the counters.
CAUSES: Final = (
    *(str(fault.value) for fault in ReplyFault),
    *(str(fault.value) for fault in FollowUpFault),
    LATE_REPLY,
    OVERLONG,
    SOURCE,
    STALE_DUPLICATE,
)
ERRNO_MAX: Final = 134


class Cause(IntEnum):
    """Places of `CAUSES` that the loop counts in."""

    SHORT = CAUSES.index(ReplyFault.SHORT)
    SSID = CAUSES.index(ReplyFault.SSID)
    SEQUENCE = CAUSES.index(ReplyFault.SEQUENCE)
    SENDER_TIMESTAMP = CAUSES.index(ReplyFault.SENDER_TIMESTAMP)
    TIMESTAMP = CAUSES.index(ReplyFault.TIMESTAMP)
    DWELL_NEGATIVE = CAUSES.index(ReplyFault.DWELL_NEGATIVE)
    DWELL_LONG = CAUSES.index(ReplyFault.DWELL_LONG)
    HMAC = CAUSES.index(ReplyFault.HMAC)
    INTEGRITY = CAUSES.index(ReplyFault.INTEGRITY)
    FOLLOW_UP_UNKNOWN = CAUSES.index(FollowUpFault.UNKNOWN)
    FOLLOW_UP_TIMESTAMP = CAUSES.index(FollowUpFault.TIMESTAMP)
    FOLLOW_UP_EARLY = CAUSES.index(FollowUpFault.EARLY)
    FOLLOW_UP_LATE = CAUSES.index(FollowUpFault.LATE)
    LATE_REPLY = CAUSES.index(LATE_REPLY)
    OVERLONG = CAUSES.index(OVERLONG)
    SOURCE = CAUSES.index(SOURCE)
    STALE_DUPLICATE = CAUSES.index(STALE_DUPLICATE)


# A socket; packets of one DSCP, one kind and one source port leave by it, whatever their target.
SOCKET: Final = np.dtype(
    [
        ("fd", np.int64),
        ("kind", np.int64),  # of its packets, below KINDS
        ("stamps", np.int64),  # the kernel tells when packets leave
        ("number", np.int64),  # of the next packet, as the kernel counts
        ("waiting", np.int64),  # packets to send in this turn
        ("size", np.int64),  # of its packets
        ("wanted", np.int64),  # where in them is which follow-up is asked for again; 0: nowhere
    ],
    align=True,
)

SESSION: Final = np.dtype(
    [
        ("socket", np.int64),  # -1: no target, -2: no socket to be had; packets are unmeasured
        ("ssid", np.int64),
        ("key", np.int64),  # -1: none
        ("neighbour", np.int64),  # the next session with this address; -1: none
        ("name_length", np.int64),
        ("error", np.int64),  # our error estimate, as packets have it
        ("first_ns", np.int64),  # when packet 0 is due, monotonic
        ("interval_ns", np.int64),
        ("count", np.int64),  # packets in all; -1: no end
        ("taken", np.int64),  # packets that became due, whatever became of them
        ("timeout_ns", np.int64),
        ("hold_ns", np.int64),
        ("tolerance_ns", np.int64),  # how late a packet may leave
        ("muted_ns", np.int64),  # nothing is sent before: it cannot be
        ("ring", np.int64),  # where its records begin
        ("mask", np.int64),  # and how many there are, less one; a power of two
        ("position", np.int64),  # of the next packet; less 2^32, its sequence number
        ("expire", np.int64),  # no earlier one waits for an answer
        ("harvest", np.int64),  # no earlier one is in the ring
        ("orders", np.int64),  # answers so far
        ("latest", np.int64),  # the last-sent packet that was answered
        ("told", np.int64),  # the latest answer of which a follow-up has come
        ("asking", np.int64),  # no earlier answer lacks its follow-up
        ("answered", np.int64),
        ("lost", np.int64),
        ("unmeasured", np.int64),
        ("duplicates", np.int64),
        ("reordered", np.int64),
        ("watermark_ns", np.int64),  # what was due before, monotonic, is in the rows
    ],
    align=True,
)

# A packet, until its outcome is written to the rows. Times of day are Unix nanoseconds.
RECORD: Final = np.dtype(
    [
        ("position", np.int64),
        ("due_ns", np.int64),  # monotonic
        ("offset_ns", np.int64),  # wall minus monotonic when it was sent
        ("late_ns", np.int64),  # how late it left
        ("bits", np.int64),  # T1 as the packet has it
        ("sent_ns", np.int64),  # T1
        ("received_ns", np.int64),  # T2
        ("replied_ns", np.int64),  # T3
        ("arrived_ns", np.int64),  # T4
        ("until_ns", np.int64),  # a follow-up is waited for; monotonic, 0: it is not
        ("order", np.int64),
        ("reflector_sequence", np.int64),
        ("duplicates", np.int32),
        ("extent", np.int32),  # of its reordering; 0: it came in order
        ("far_error", np.int32),
        ("ttl", np.int16),
        ("reply_ttl", np.int16),
        ("dscp", np.int16),
        ("reply_dscp", np.int16),
        ("state", np.uint8),
        ("stamped", np.uint8),  # T1 is the kernel's
        ("known", np.uint8),  # T2 and T4 are kernels'
        ("followed", np.uint8),  # 1: a follow-up has told T3; 2: and a kernel took it
        ("asked", np.uint8),  # times that its follow-up was asked for again
    ],
    align=True,
)

ROW: Final = np.dtype(
    [
        ("outcome", OUTCOME),
        ("session", np.int64),
        ("offset_ns", np.int64),  # wall minus monotonic at its due time
        ("late_ns", np.int64),  # how late it left; negative: why it did not
        ("packets", np.int64),  # 1, or how many in a row, an interval apart, were not sent
    ],
    align=True,
)

# Why a packet was not sent, in `late_ns` of its row.
TOO_LATE: Final = -1  # the prober did not come to it in time
NO_TARGET: Final = -2
MUTED: Final = -3  # sending to its target failed a moment ago
NO_ROOM: Final = -4  # too many are under way

# Places in `words`; head and tail on cache lines of their own.
HEAD: Final = 0  # rows written
TAIL: Final = 8  # rows read
OFFSET: Final = 16  # wall minus monotonic
READ_NS: Final = 17  # when to read answers next, monotonic
KEEP_NS: Final = 18  # when to look after records next
GENERATION: Final = 19  # of the arrays: a loop that began with those of another one returns
STOOD_IN: Final = 20  # packets that a thread which stands by took over
WATCH_NS: Final = 21  # until when a thread that stands by looks after each packet, monotonic
WORDS: Final = 24
MUTEX_WORDS: Final = 8  # of 8 octets; pthread_mutex_t has 40 to 48, and begins as zeros


class State(NamedTuple):
    """Everything. The loop never makes it larger."""

    sockets: NDArray[np.void]  # (s,) SOCKET
    sessions: NDArray[np.void]  # (n,) SESSION
    names: NDArray[np.uint8]  # (n, NAME_SIZE) socket addresses
    records: NDArray[np.void]  # (r,) RECORD
    by_order: NDArray[np.int64]  # (r,) positions, at the order of answering
    by_reflector: NDArray[np.int64]  # (r,) positions, at the reflector's sequence number
    heap: NDArray[np.int64]  # (n,) sessions that have packets to send, the next due first
    heap_ns: NDArray[np.int64]  # (n,) when
    heap_size: NDArray[np.int64]  # (1,)
    of_ssid: NDArray[np.int32]  # (s, SSIDS) sessions; -1: none
    of_name: NDArray[np.int64]  # (h,) first session of an address, by hash; -1: none
    numbered: NDArray[np.int64]  # (s, NUMBERS, 3) number, session, position
    waiting: NDArray[np.int64]  # (s, BATCH, 3) session, due time, position
    templates: NDArray[np.uint8]  # (s, size) a packet without what changes
    keys: NDArray[np.uint32]  # (k, 16)
    discarded: NDArray[np.int64]  # (s, len(CAUSES)) datagrams
    errors: NDArray[np.int64]  # (s, 2, ERRNO_MAX) of sending and of receiving, by errno
    rows: NDArray[np.void]  # (m,) ROW, a ring of a power of two
    words: NDArray[np.int64]  # (WORDS,)
    clock: NDArray[np.int64]  # (2,) room to read a clock
    mutex: NDArray[np.int64]  # (MUTEX_WORDS,)
    output: Messages
    replies: Messages
