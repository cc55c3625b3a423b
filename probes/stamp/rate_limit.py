"""How many packets a source may send: a token bucket each, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from netslo.model import NS_PER_S

SOURCES_MAX: Final = 16_384

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class RateLimit:
    """How many packets of one source address are answered; the rest is counted and dropped."""

    per_second: float = 20_000.0
    burst: int = 20_000

    @property
    def cost_ns(self) -> int:
        """How long a source waits for another packet, in the long run."""
        return int(NS_PER_S / self.per_second)


class TokenBuckets(Generic[S]):
    """Allows each source `per_second` packets, and `burst` at once.

    At most `sources_max` sources are remembered; the least recently heard makes room. It would
    have a full bucket by then, unless more sources than that are heard within one burst's time.
    """

    def __init__(self, per_second: float, burst: int, sources_max: int = SOURCES_MAX) -> None:
        if per_second <= 0 or burst < 1:
            raise ValueError(f"a rate of {per_second}/s and bursts of {burst} allow nothing")
        self._cost_ns = RateLimit(per_second, burst).cost_ns
        self._depth_ns = burst * self._cost_ns
        self._sources_max = sources_max
        self._full_ns: OrderedDict[S, int] = OrderedDict()  # when the bucket will be full again

    def allow(self, source: S, now_ns: int) -> bool:
        """Take a token; False when there is none. `now_ns` never goes back."""
        full_ns = max(self._full_ns.pop(source, now_ns), now_ns)
        allowed = full_ns + self._cost_ns - now_ns <= self._depth_ns
        self._full_ns[source] = full_ns + self._cost_ns if allowed else full_ns
        if len(self._full_ns) > self._sources_max:
            self._full_ns.popitem(last=False)
        return allowed
