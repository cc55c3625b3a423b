"""What became of each due packet of a session, as one row of numbers."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from netslo.model import Quality


class State(IntEnum):
    """What became of a due packet."""

    PENDING = 0
    ANSWERED = 1
    LOST = 2
    UNMEASURED = 3


QUALITIES: Final = (Quality.A, Quality.B, Quality.C)  # the column `quality` is an index of these
UNKNOWN: Final = -1  # in every column but `state` and `quality`

NEVER_NS: Final = 1 << 62  # later than any due time

# One row a due packet, in the order of sending. Spans are nanoseconds and may be negative where
# two clocks have a part in them; what is not known is UNKNOWN, a span NO_SPAN.
NO_SPAN: Final = -(1 << 63)
_MARKS: Final = ("ttl", "reply_ttl", "dscp", "reply_dscp")
OUTCOME: Final = np.dtype(
    [
        ("due_ns", np.int64),  # monotonic
        ("rtt_ns", np.int64),  # (T4 - T1) - (T3 - T2)
        ("forward_ns", np.int64),  # T2 - T1, by two clocks
        ("backward_ns", np.int64),  # T4 - T3, by two clocks
        ("order", np.int64),  # of arrival among the answers of the session
        ("reflector_sequence", np.int64),  # the far end's own number of the reply
        ("position", np.int64),  # in the order of sending; its low 32 bits are its number
        ("duplicates", np.int32),  # further answers
        ("extent", np.int32),  # of its reordering (RFC 4737 §4.2.1); 0: it came in order
        ("far_error", np.int32),  # the far clock's Error Estimate, as the reply had it
        ("state", np.uint8),
        ("quality", np.uint8),
        ("ttl", np.int16),  # of the request at the far end
        ("reply_ttl", np.int16),  # of the reply here
        ("dscp", np.int16),  # of the request at the far end
        ("reply_dscp", np.int16),  # of the reply here
        ("reordered", np.uint8),  # its answer came after that of a packet sent later (RFC 4737)
    ],
    align=True,
)

Outcomes = NDArray[np.void]  # of OUTCOME


def set_aside(outcomes: Outcomes) -> tuple[Outcomes, int]:
    """Return the rows as if none had been measured, and how many had been.

    They stay due: due = answered + lost + unmeasured holds as before.
    """
    rows = outcomes.copy()
    measured = (rows["state"] == State.ANSWERED) | (rows["state"] == State.LOST)
    rows["state"][measured] = State.UNMEASURED
    for span in ("rtt_ns", "forward_ns", "backward_ns"):
        rows[span] = NO_SPAN
    for unknown in ("order", "reflector_sequence", "far_error", *_MARKS):
        rows[unknown] = UNKNOWN
    for count in ("duplicates", "extent", "reordered"):
        rows[count] = 0
    return rows, int(measured.sum())
