"""What a reflector has to tell of when its replies left, and tells again to who missed it."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Final

from probes.stamp.tlv import FollowUp

PENDING_MAX: Final = 256  # of one session, not told yet
TOLD_MAX: Final = 64  # of one session, told already


@dataclass(slots=True)
class FollowUps:
    """The follow-ups of one session, each told once, in order; and again where it is asked for.

    A reply that is lost takes the follow-up it carried with it. A sender of ours names the one it
    lacks in the sequence number of its request's extension, which RFC 8972 §4.7 leaves zero.
    """

    _pending: deque[FollowUp] = field(default_factory=lambda: deque(maxlen=PENDING_MAX))
    _told: OrderedDict[int, FollowUp] = field(default_factory=OrderedDict)

    def add(self, follow_up: FollowUp) -> None:
        self._pending.append(follow_up)

    def take(self, wanted: int = 0) -> FollowUp:
        """Return the next one, or the one of the reply `wanted`; one that says nothing if none."""
        if wanted:
            return self._told.get(wanted, FollowUp())
        if not self._pending:
            return FollowUp()
        follow_up = self._pending.popleft()
        self._told[follow_up.sequence] = follow_up
        if len(self._told) > TOLD_MAX:
            self._told.popitem(last=False)
        return follow_up
