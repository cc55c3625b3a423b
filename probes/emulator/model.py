"""What an emulated path does to a packet: a delay, or its end. Owns no socket and no clock."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from netslo.estate import Estate
from netslo.model import NS_PER_S, Path, Scope
from probes.emulator.geography import propagation_s

EXPEDITED_DSCP: Final = 46  # RFC 3246
CORRELATION_S: Final = 2.0  # how long a queue remembers


@dataclass(frozen=True, slots=True)
class Impairment:
    """What an incident adds to one direction of a path."""

    extra_delay_s: float = 0.0
    loss: float = 0.0
    jitter_factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Character:
    """One direction of a path on an ordinary day; seconds and ratios."""

    base_s: float  # propagation and equipment
    jitter_s: float  # median of the queueing delay
    spread: float  # sigma of its logarithm
    loss: float


class Direction:
    """One direction of a path: draws a delay for each packet.

    Queueing delay is log-normal and correlated in time (an Ornstein-Uhlenbeck process in the
    logarithm), as queues are: independent draws would reorder nearly every pair of packets.
    The same seed and the same times give the same delays.
    """

    def __init__(self, character: Character, seed: int) -> None:
        self.character = character
        self.impairment: Impairment | None = None
        self._random = random.Random(seed)
        self._state = self._random.gauss(0.0, 1.0)
        self._last_ns: int | None = None

    def delay_ns(self, now_ns: int) -> int | None:
        """Return how long a packet that enters at `now_ns` travels; None when it is lost."""
        now = self.character
        extra_s, loss, factor = 0.0, now.loss, 1.0
        if self.impairment is not None:
            extra_s = self.impairment.extra_delay_s
            loss = 1 - (1 - now.loss) * (1 - self.impairment.loss)
            factor = self.impairment.jitter_factor
        queue_s = now.jitter_s * factor * math.exp(now.spread * self._advance(now_ns))
        if self._random.random() < loss:
            return None
        return round((now.base_s + extra_s + queue_s) * NS_PER_S)

    def _advance(self, now_ns: int) -> float:
        """Move the process, which has mean 0 and variance 1, to `now_ns`."""
        if self._last_ns is not None:
            elapsed_s = max(0, now_ns - self._last_ns) / NS_PER_S
            memory = math.exp(-elapsed_s / CORRELATION_S)
            self._state = memory * self._state + math.sqrt(1 - memory**2) * self._random.gauss()
        self._last_ns = now_ns if self._last_ns is None else max(now_ns, self._last_ns)
        return self._state


_EQUIPMENT_S: Final = 0.000_15
_JITTER_S: Final[Mapping[Scope, float]] = {
    Scope.EDGE: 0.000_35,  # the last mile queues more than the core
    Scope.REGIONAL: 0.000_20,
    Scope.NATIONAL: 0.000_40,
}
_SPREAD: Final = 0.45
_LOSS: Final[Mapping[Scope, float]] = {
    Scope.EDGE: 5e-5,
    Scope.REGIONAL: 1e-5,
    Scope.NATIONAL: 4e-5,
}
_EXPEDITED_SHARE: Final = 0.4  # of the jitter and loss of best effort


def ordinary(estate: Estate, path: Path) -> Character:
    """Return how one direction between two sites behaves, from their places and the class."""
    src, dst = estate.sites[path.src], estate.sites[path.dst]
    scope = estate.scope(path)
    expedited = estate.classes[path.traffic_class].dscp == EXPEDITED_DSCP
    share = _EXPEDITED_SHARE if expedited else 1.0
    return Character(
        base_s=_EQUIPMENT_S + propagation_s(src.location, dst.location),
        jitter_s=_JITTER_S[scope] * share,
        spread=_SPREAD,
        loss=_LOSS[scope] * share,
    )
