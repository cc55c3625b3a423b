"""Leases of one end, held by a process of its own host: renewed while a test runs, then given back.

A client holds that of its own end, a server that of the far end for as long as it takes part.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Final

from netslo.errors import NetsloError
from probes.bandwidth.book import DRAIN_S
from probes.bandwidth.busy import BusyError, LeaseLost
from probes.bandwidth.clock import now_s
from probes.bandwidth.keeper import Keeper
from probes.bandwidth.lease import RENEW_S, TERM_S, Busy, usable_until

_log = logging.getLogger(__name__)

_LOST: Final = "the test was stopped: its lease could not be renewed in time"


class Grant:
    """A lease that is renewed until it is released, for at most `seconds`."""

    def __init__(
        self,
        keeper: Keeper,
        token: int,
        asked_s: float,
        seconds: float,
        clock: Callable[[], float],
        drain_s: float,
    ) -> None:
        self.token = token
        self._keeper = keeper
        self._clock = clock
        self._ends_s = asked_s + seconds
        self._usable_until_s = usable_until(asked_s, TERM_S)
        self._begun = False
        self._drain_s = drain_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()

    @property
    def usable_until_s(self) -> float:
        """When the test must stop, unless the lease is renewed before; by `clock.now_s`."""
        return self._usable_until_s

    @property
    def usable(self) -> bool:
        """Whether the test may go on now."""
        return not self._over.is_set() and self._clock() < self._usable_until_s

    def check(self) -> None:
        """See that the test may go on.

        Raises:
            LeaseLost: it must stop at once.
        """
        if not self.usable:
            raise LeaseLost(_LOST)

    def begin(self) -> None:
        """Let the agents of this end know that the bottleneck is loaded from now on.

        Raises:
            LeaseLost: the lease has ended.
        """
        self._begun = True
        if not self._keeper.begin(self.token):
            raise LeaseLost(_LOST)

    def release(self) -> None:
        """Give it back; more than once does no harm. What cannot be told runs out by itself."""
        if self._over.is_set():
            return
        self._over.set()
        self._thread.join(RENEW_S)
        try:
            self._keeper.release(self.token, self._drain_s if self._begun else 0.0)
        except (OSError, NetsloError) as error:
            _log.warning("a lease was not given back, it runs out: %s", error)

    def _renew(self) -> None:
        while not self._over.wait(RENEW_S):
            asked_s = self._clock()
            if asked_s >= self._ends_s:
                return  # whoever holds it has had its time
            try:
                kept = self._keeper.renew(self.token, TERM_S)
            except (OSError, NetsloError) as error:
                _log.warning("a lease was not renewed: %s", error)
                continue
            if kept:
                self._usable_until_s = usable_until(asked_s, TERM_S)


class KeptLeases:
    """Grants the leases of one keeper. For several threads.

    Args:
        keeper: Writes them down.
        clock: Seconds, as the keeper counts them.
        drain_s: How long after a test's last packet the queues are full still.
    """

    def __init__(
        self, keeper: Keeper, *, clock: Callable[[], float] = now_s, drain_s: float = DRAIN_S
    ) -> None:
        self._keeper = keeper
        self._clock = clock
        self._drain_s = drain_s

    @property
    def id(self) -> str:
        """Which keeper this is; ends with the same id go by the same leases."""
        return self._keeper.id

    def grant(
        self, names: Sequence[str], seconds: float, holder: str, *, begun: bool = True
    ) -> Grant:
        """Let `holder` test these bottlenecks, all or none, until released or for so long.

        Args:
            names: What is loaded, the bottleneck itself first.
            seconds: The most that the test takes.
            holder: Who tests, in words, for those who find it busy.
            begun: It is loaded from now on; else from `Grant.begin`.

        Raises:
            BusyError: another has one of them.
            NetsloError: the names are none, or the keeper cannot be asked.
        """
        asked_s = self._clock()
        try:
            found = self._keeper.acquire(names, holder, TERM_S)
        except ValueError as error:
            raise NetsloError(f"no lease: {error}") from error
        if isinstance(found, Busy):
            left_s = max(found.remaining_s, 0.0)
            raise BusyError(
                f"{names[0] if names else 'it'} is busy: {found.holder} tests there, "
                f"for {left_s:.0f} s more unless renewed",
                left_s,
            )
        granted = Grant(self._keeper, found, asked_s, seconds, self._clock, self._drain_s)
        if begun:
            try:
                granted.begin()
            except BaseException:
                granted.release()
                raise
        return granted
