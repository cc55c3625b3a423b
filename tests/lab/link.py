"""What the emulated WAN does to the packets of one direction."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

_DSCP_VALUES: Final = 64
_RATIOS = ("p", "r", "loss_good", "loss_bad", "duplicate", "reorder")
_NOT_NEGATIVE = ("delay_s", "jitter_s", "jitter_spread", "reorder_extra_s", "hops", "queue_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One direction of a path; a packet without any of these is passed on at once.

    Loss is Gilbert-Elliott: before each packet the state goes from good to bad with probability
    `p` and back with `r`, then the packet is lost with the probability of the state. With the
    other two as they are, runs of losses are 1/r packets long on average and p/(p+r) is lost.
    Independent losses are `loss_good` alone.

    Queueing delay is log-normal, an Ornstein-Uhlenbeck process of its logarithm in time, and
    keeps the order of packets, as a queue does. Only packets that `reorder` picks are overtaken.
    """

    delay_s: float = 0.0  # what every packet has
    jitter_s: float = 0.0  # median of the queueing delay that comes on top
    jitter_spread: float = 0.5  # sigma of its logarithm
    jitter_time_s: float = 0.1  # after this the queue has forgotten all but 1/e
    p: float = 0.0
    r: float = 1.0
    loss_good: float = 0.0
    loss_bad: float = 1.0
    duplicate: float = 0.0  # share that arrives twice, the copy right behind the original
    reorder: float = 0.0  # share that is late, so that others pass it
    reorder_extra_s: float = 0.0  # by so much
    dscp_map: Mapping[int, int] = field(default_factory=dict)  # what it was: what it becomes
    hops: int = 0  # taken from TTL or hop limit; a packet that had no more is dropped
    rate_bit_s: float = 0.0  # of IP packets through the bottleneck; 0 is no bottleneck
    queue_s: float = 0.1  # longest wait before the bottleneck; then the packet is dropped

    def __post_init__(self) -> None:
        for name in _RATIOS:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in 0..1")
        for name in (*_NOT_NEGATIVE, "rate_bit_s"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be finite and not negative")
        if not 0 < self.jitter_time_s < math.inf:
            raise ValueError("jitter_time_s must be finite and positive")
        for value in (*self.dscp_map, *self.dscp_map.values()):
            if not 0 <= value < _DSCP_VALUES:
                raise ValueError("DSCP must lie in 0..63")

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Link:
        """Return the link that `dataclasses.asdict` took apart; JSON made text of DSCP keys."""
        dscp_map = {int(old): int(new) for old, new in content["dscp_map"].items()}
        return cls(**{**content, "dscp_map": dscp_map})
