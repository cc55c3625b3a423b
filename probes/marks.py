"""What the network did to the marks of packets: DSCP and TTL."""

from __future__ import annotations

import numpy as np

from analytics.windows import FORWARD, REVERSE
from probes.outcome import Outcomes

_TTLS = {FORWARD: "ttl", REVERSE: "reply_ttl"}


def remarked(answered: Outcomes, dscp: int) -> dict[int, int]:
    """Return how many packets arrived with another DSCP than `dscp`, by what they had."""
    seen = answered["dscp"]
    values, counts = np.unique(seen[(seen >= 0) & (seen != dscp)], return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


class TtlTracker:
    """Counts, for one session and across its windows, how often the TTL at arrival changed.

    Every router on the way takes one off, so a change means a path of another length. It is
    looked for from one answered packet to the next, in the order of sending.
    """

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def observe(self, answered: Outcomes) -> dict[str, int]:
        """Take in the answers of the next window; return the changes by direction."""
        found = {}
        for direction, column in _TTLS.items():
            ttls = answered[column][answered[column] >= 0].astype(np.int64)
            if not len(ttls):
                continue
            first = self._last.get(direction, int(ttls[0]))
            found[direction] = int(np.count_nonzero(np.diff(ttls, prepend=first)))
            self._last[direction] = int(ttls[-1])
        return found
