"""The largest packet that passes unfragmented (RFC 1191, RFC 8201), also past black holes.

A search, without its sockets. Routers that tell the MTU of the next link are believed as far as
that is smaller than what was sent and passes. A router that drops and does not tell (RFC 2923
§2.1), or whose word is lost on the way back, leaves silence: then sizes are tried, as RFC 4821
does, the usual ones first.
"""

from __future__ import annotations

from typing import Final

USUAL: Final = (1280, 1380, 1400, 1420, 1450, 1460, 1476, 1480, 1492, 1500, 4352, 8985, 9000)
STEP: Final = 4  # octets: how exact a size is that nobody told
TOLD_MAX: Final = 16  # routers on one path that tell a smaller MTU
TRIES: Final = 3  # of one size without an answer


class MtuSearch:
    """Finds the path MTU, at most `high`, that of the first link.

    The caller sends packets of `size` octets until that is None, and tells what came of each.

    Args:
        low: What passes if anything does: 576 octets of IPv4, 1280 of IPv6.
        high: The first size to try.
    """

    def __init__(self, low: int, high: int) -> None:
        self.size: int | None = high
        self.told_by: str | None = None  # the last router that said so
        self._low = min(low, high)
        self._high = high
        self._passed = 0  # the largest that did
        self._failed = 0  # the smallest that did not; 0: none so far
        self._vanished = False  # that one, and nobody said why
        self._silences = 0  # of the present size
        self._told = 0

    @property
    def mtu(self) -> int | None:
        """The path MTU, once `size` is None; None if the target answers packets of no size."""
        return self._passed or None

    @property
    def black_hole(self) -> bool:
        """Whether larger packets vanish without a word."""
        return self._vanished and self._passed > 0

    def passed(self, size: int) -> None:
        """The target answered a packet of this size."""
        self._passed = max(self._passed, size)
        self._go_on()

    def too_big(self, size: int, mtu: int | None, address: str | None) -> None:
        """Somebody said that a packet of this size is too big, and perhaps what is not."""
        self._told += 1
        self.told_by = address
        self._fail(size, vanished=False)
        if mtu is not None and self._passed < mtu < size and self._told <= TOLD_MAX:
            self._fail(mtu + 1, vanished=False)
            self.size = mtu
        else:
            self._go_on()

    def silent(self, size: int) -> None:
        """No answer came to a packet of this size."""
        self._silences += 1
        if self._silences >= TRIES:
            self._fail(size, vanished=True)
            self._go_on()

    def _fail(self, size: int, *, vanished: bool) -> None:
        self._silences = 0
        if not self._failed or size < self._failed:
            self._failed, self._vanished = size, vanished

    def _go_on(self) -> None:
        self._silences = 0
        self.size = self._next()

    def _next(self) -> int | None:
        if not self._failed:
            return None  # the largest passes
        if not self._passed:  # does anything?
            return self._low if self._failed > self._low else None
        usual = [size for size in USUAL if self._passed < size < self._failed]
        if usual:
            return usual[len(usual) // 2]
        if self._failed - self._passed <= STEP:
            return None
        middle = (self._passed + self._failed) // 2
        return max(self._passed + 1, middle // STEP * STEP)
