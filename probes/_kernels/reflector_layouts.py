"""What the reflecting loop works on: arrays that Python and the loop share.

One thread runs the loop and owns all of it. Others may read the counters at any time.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from probes._kernels.libc import Messages
from probes._kernels.recent import Recent
from probes._kernels.telling import Telling
from probes.stamp.reflector import RequestFault

CAUSES: Final = tuple(RequestFault)


class Cause(IntEnum):
    """Places of `CAUSES`."""

    SHORT = CAUSES.index(RequestFault.SHORT)
    LONG = CAUSES.index(RequestFault.LONG)
    PORT = CAUSES.index(RequestFault.PORT)
    LOOP = CAUSES.index(RequestFault.LOOP)
    HMAC = CAUSES.index(RequestFault.HMAC)
    RATE = CAUSES.index(RequestFault.RATE)


# A socket that is answered at.
DOOR: Final = np.dtype(
    [
        ("fd", np.int64),
        ("port", np.int64),
        ("stamps", np.int64),  # the kernel tells when replies leave
        ("number", np.int64),  # of the next reply, as the kernel counts
    ],
    align=True,
)

SESSION: Final = np.dtype(
    [
        ("next_sequence", np.int64),  # of its replies
        ("received", np.int64),
        ("generation", np.int64),  # how many sessions had this place before
    ],
    align=True,
)

# A reply of the turn.
REPLY: Final = np.dtype(
    [
        ("row", np.int64),  # of the messages
        ("session", np.int64),  # -1: none is remembered
        ("sequence", np.int64),
        ("mac", np.int64),  # where its HMAC TLV begins; -1: there is none
    ],
    align=True,
)

# Places in `words`.
REFLECTED: Final = 0
ERROR_ESTIMATE: Final = 1  # as packets have it
SYNCHRONISATION: Final = 2  # of our clock, RFC 8972 table 7
COST_NS: Final = 3  # of a packet, in the bucket of its source
DEPTH_NS: Final = 4  # of a bucket
STATEFUL: Final = 5
KIND: Final = 6  # of packets: authenticated or not
WORDS: Final = 8


class State(NamedTuple):
    """Everything. Sizes are fixed: a flood of strangers costs no memory."""

    doors: NDArray[np.void]  # (d,) DOOR
    polled: NDArray[np.int32]  # (d, 2) struct pollfd
    numbered: NDArray[np.int64]  # (d, NUMBERS, 4) number, session, generation, sequence
    sessions: NDArray[np.void]  # (n,) SESSION
    of_session: Recent
    telling: Telling
    of_source: Recent
    full_ns: NDArray[np.int64]  # when the bucket of a source will be full again, monotonic
    key: NDArray[np.uint32]  # (16,)
    replies: NDArray[np.void]  # (BATCH,) REPLY
    address: NDArray[np.uint8]  # (16,) room for one
    discarded: NDArray[np.int64]  # (len(CAUSES),)
    errors: NDArray[np.int64]  # (ERRNO_MAX,) replies not sent
    words: NDArray[np.int64]
    clock: NDArray[np.int64]  # (2,) room to read a clock
    requests: Messages
    output: Messages  # the same memory, but for the headers
