"""A bottleneck held at both ends for one test, acquired in one order by everybody."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Generic, Protocol, TypeVar

from probes.bandwidth.busy import BusyError, LeaseLost
from probes.bandwidth.clock import now_s
from probes.bandwidth.granting import Grant, KeptLeases
from probes.bandwidth.lease import usable_until

_LOOK_S: Final = 1.0  # how often a bottleneck that is busy is asked for again, about


class FarEnd(Protocol):
    """A control channel to the far end's server, which leases for us and ends what it leased."""

    @property
    def keeper(self) -> str | None:
        """The id of the far end's keeper; None where it has none."""

    def begin(self, seconds: float, names: tuple[str, ...], holder: str) -> None:
        """Have the far end lease the bottleneck.

        Raises:
            BusyError: another tests there.
        """

    def close(self) -> None:
        """End the test; the far end gives its lease back."""


E = TypeVar("E", bound=FarEnd)


class Hold(Generic[E]):
    """Both leases of one test: it sends nothing unless `usable`."""

    def __init__(self, far: E, near: Grant | None, far_until_s: float) -> None:
        self.far = far
        self._near = near  # None: both ends go by one state directory, and so by the far lease
        self._far_until_s = far_until_s

    @property
    def usable_until_s(self) -> float:
        """When the test must stop, unless the lease is renewed before; by `clock.now_s`."""
        if self._near is None:
            return self._far_until_s
        return min(self._near.usable_until_s, self._far_until_s)

    @property
    def usable(self) -> bool:
        """Whether the test may go on now."""
        return now_s() < self.usable_until_s

    def check(self) -> None:
        """See that the test may go on.

        Raises:
            LeaseLost: it must stop at once.
        """
        if not self.usable:
            raise LeaseLost("the test was stopped: its lease could not be kept")


@contextmanager
def hold(
    near: KeptLeases,
    connect: Callable[[], E],
    names: Sequence[str],
    seconds: float,
    holder: str,
    *,
    wait_s: float = 0.0,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Hold[E]]:
    """Hold a bottleneck at both ends while the block runs, and give it back after.

    Nobody waits for one end while holding the other, and everybody begins with the end whose id
    is the lesser: of tests that want the same two ends, one gets both.

    Args:
        near: This end's leases.
        connect: Opens a control channel to the far end.
        names: What is loaded, the bottleneck itself first (`bottleneck.names_between`).
        seconds: The most that the test takes.
        holder: Who tests, in words: it is shown to those who find it busy.
        wait_s: How long to wait for others to finish.
        sleep: Waits.

    Raises:
        BusyError: others are at it still; says who, and for how long at most.
        NetsloError: an end cannot be asked.
    """
    ends_s = now_s() + wait_s
    while True:
        try:
            far, grant, far_until_s = _acquire(near, connect, tuple(names), seconds, holder)
        except BusyError:
            left_s = ends_s - now_s()
            if left_s <= 0:
                raise
            sleep(min(left_s, _LOOK_S * random.uniform(0.5, 1.5)))
        else:
            break
    try:
        if grant is not None:
            grant.begin()
        yield Hold(far, grant, far_until_s)
    finally:
        try:
            far.close()
        finally:
            if grant is not None:
                grant.release()


def _acquire(
    near: KeptLeases,
    connect: Callable[[], E],
    names: tuple[str, ...],
    seconds: float,
    holder: str,
) -> tuple[E, Grant | None, float]:
    """Lease at both ends or at none."""
    far = connect()
    grant: Grant | None = None
    try:
        first = far.keeper is None or near.id < far.keeper
        if first:
            grant = near.grant(names, seconds, holder, begun=False)
        asked_s = now_s()
        far.begin(seconds, names, holder)
        if not first and near.id != far.keeper:
            grant = near.grant(names, seconds, holder, begun=False)
    except BaseException:
        try:
            far.close()
        finally:
            if grant is not None:
                grant.release()
        raise
    return far, grant, usable_until(asked_s, seconds)
