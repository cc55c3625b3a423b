"""What a test needs before it begins: the bottleneck leased at both ends, and octets to spend."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from probes.address import SocketAddress
from probes.bandwidth.bottleneck import ends_name
from probes.bandwidth.budget import Budget, Reservation
from probes.bandwidth.client import BandwidthClient
from probes.bandwidth.granting import KeptLeases
from probes.bandwidth.hold import hold
from probes.bandwidth.keeper import FileKeeper
from probes.bandwidth.measuring import BandwidthMeasuring, resolve_target, session_seconds
from probes.bandwidth.plan import BandwidthPlan, Method
from probes.bandwidth.state import StateDirectory


class Account:
    """What a test spends of a site's budget: a `measuring.Spending`."""

    def __init__(
        self,
        budget: Budget,
        who: str,
        say: Callable[[int, int], None] = lambda _expected, _most: None,
        *,
        force: bool = False,
    ) -> None:
        self._budget = budget
        self._who = who
        self._say = say
        self._force = force
        self._reserved: list[Reservation] = []

    def allow(self, expected: int, most: int) -> None:
        """Say what will be used, and take it from the budget.

        Raises:
            BudgetExceeded: fewer octets are left.
        """
        self._say(expected, most)
        self._reserved.append(self._budget.reserve(most, self._who, force=self._force))

    def settle(self, used: int | None) -> None:
        """Count what was used, in the place of what was reserved.

        Where nobody knows, for the test broke off while it was sending, all of that counts.
        """
        if used is None:
            return
        for reservation in self._reserved:
            self._budget.settle(reservation, min(used, reservation.octets))
            used = max(0, used - reservation.octets)
        self._reserved.clear()


@contextmanager
def entered(
    plan: BandwidthPlan, state: StateDirectory, account: Account, *, wait_s: float = 0.0
) -> Iterator[BandwidthMeasuring]:
    """Hold the bottleneck at both ends while the block runs; yield the test, ready to run.

    What it used is settled with `account` at the end of the block.

    Raises:
        BusyError: another test holds it.
        NetsloError: the far end is not there, or does not want this one.
    """
    address = resolve_target(plan.target)
    names = plan.bottlenecks or (ends_name(_own_address(address), address.host),)
    leases = KeptLeases(FileKeeper(state))
    seconds = session_seconds(plan)
    if plan.method is Method.IPERF3:  # its server knows no leases
        grant = leases.grant(names, seconds, plan.holder)
        try:
            measuring = BandwidthMeasuring(plan, None, account, lambda: grant.usable)
            with _settled(account, measuring):
                yield measuring
        finally:
            grant.release()
        return

    def connect() -> BandwidthClient:
        return BandwidthClient(address, plan.secret)

    with hold(leases, connect, names, seconds, plan.holder, wait_s=wait_s) as held:
        measuring = BandwidthMeasuring(plan, held.far, account, lambda: held.usable)
        with _settled(account, measuring):
            yield measuring


@contextmanager
def _settled(account: Account, measuring: BandwidthMeasuring) -> Iterator[None]:
    try:
        yield
    finally:
        account.settle(measuring.used)


def _own_address(target: SocketAddress) -> str:
    """Return this host's address on the way to a target."""
    try:
        with socket.socket(target.family, socket.SOCK_DGRAM) as sock:
            sock.connect(target.sockaddr)  # nothing is sent
            return str(sock.getsockname()[0])
    except OSError:
        return "here"
