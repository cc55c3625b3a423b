"""Traces from their beginning to their end: sockets, clocks and what goes between them."""

from __future__ import annotations

import errno
import logging
import os
import random
import select
import threading
import time
from dataclasses import dataclass
from typing import Final

from netslo.model import NS_PER_S
from probes.address import SocketAddress
from probes.channel import KERNEL_STAMP_AGE_NS_MAX
from probes.icmp.packet import ICMP
from probes.instant import Instant, read_clocks
from probes.timestamps import keep_stamping
from probes.trace.answers import Answer, Kind, Refusal, Sent
from probes.trace.carrier import Carrier, Tap
from probes.trace.flow import IPV6_MTU_MIN, NUMBERS, Flow
from probes.trace.mtu import MtuSearch
from probes.trace.raw import RawCarrier
from probes.trace.tracing import TracePlan, Tracing
from probes.trace.unprivileged import UnprivilegedCarrier

_log = logging.getLogger(__name__)

IPV4_LOW: Final = 576  # every host takes a packet of so many octets (RFC 791)
MTU_TTL: Final = 64
MTU_TIMEOUT_NS: Final = NS_PER_S  # hosts may answer one packet a second only
_TAP_NEEDS: Final = "capturing packets needs the capability CAP_NET_RAW (root has it)"
_WAIT_MS_MAX: Final = 200  # then whether to stop is looked at
_MS_NS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class PathMtu:
    """The largest packet that passes; `octets` None: the target does not answer."""

    octets: int | None
    black_hole: bool = False
    told_by: str | None = None


def open_carrier(plan: TracePlan, target: SocketAddress, tap: Tap | None = None) -> Carrier:
    """Return raw sockets, or where they are not allowed, those that do without.

    `tap` is given each packet that leaves or comes; only raw sockets see whole ones.

    Raises:
        PermissionError: what is asked for needs raw sockets; the text says so.
        OSError: no route to the target, or a port is in use.
    """
    keep_stamping()
    try:
        return RawCarrier(plan, target, tap)
    except PermissionError:
        if tap is not None:
            raise PermissionError(errno.EPERM, _TAP_NEEDS) from None
        return UnprivilegedCarrier(plan, target)


class Tracer:
    """Runs a trace over a carrier. `stop` may be called from any thread.

    Whoever looks at the trace while it runs holds `lock` meanwhile.
    """

    def __init__(self, carrier: Carrier, tracing: Tracing) -> None:
        self.lock = threading.Lock()
        self._carrier = carrier
        self._tracing = tracing
        self._sent: dict[int, Instant] = {}  # by number, of what is under way
        self._poll = _poll(carrier)
        carrier.attach(tracing.find)

    def run(self) -> None:
        """Trace to the end."""
        while not self._tracing.finished:
            self._turn()

    def stop(self) -> None:
        """Send nothing further; `run` returns when what is under way is settled."""
        with self.lock:
            self._tracing.stop()

    def _turn(self) -> None:
        with self.lock:
            self._send()
            wakeup_ns = self._tracing.next_wakeup_ns
        self._poll.poll(_wait_ms(wakeup_ns))
        now = read_clocks()  # before anything is read: what has come by then is in time
        came = [(what, received_ns, read_clocks()) for what, received_ns in self._carrier.read()]
        with self.lock:
            for what, received_ns, read in came:
                self._take_in(what, received_ns, read)
            self._tracing.settle(now.mono_ns)
        if len(self._sent) > len(NUMBERS) // 2:
            self._sent = {n: at for n, at in self._sent.items() if self._tracing.find(n)}

    def _send(self) -> None:
        while True:
            now = read_clocks()
            sent = self._tracing.take_due(now.mono_ns)
            if sent is None:
                return
            self._sent[sent.number] = read_clocks()
            error = self._carrier.send(sent)
            if error:
                self._tracing.unsent(sent, f"not sent: {os.strerror(error)}")

    def _take_in(self, what: Answer | Refusal, received_ns: int | None, read: Instant) -> None:
        if isinstance(what, Refusal):
            self._tracing.refused(what)
            return
        sent = self._sent.get(what.sent.number)
        if sent is not None:
            self._tracing.answered(what, max(0, arrival(received_ns, read).mono_ns - sent.mono_ns))


def find_path_mtu(carrier: Carrier, flow: Flow, stopped: threading.Event) -> PathMtu:
    """Search the path MTU of a flow; blocks for a round trip, or where packets vanish much longer.

    Black holes cost `MTU_TIMEOUT_NS` for each size that vanishes, thrice.
    """
    low = IPV4_LOW if flow.version == ICMP.version else IPV6_MTU_MIN
    search = MtuSearch(low, carrier.first_mtu())
    under_way: list[Sent] = []
    carrier.attach(lambda number: next((x for x in under_way if x.number == number), None))
    poll = _poll(carrier)
    number = random.randrange(len(NUMBERS))
    while (size := search.size) is not None and not stopped.is_set():
        number = (number + 1) % len(NUMBERS)
        sent = Sent(flow, NUMBERS[number], MTU_TTL, size)
        under_way[:] = [sent]
        error = carrier.send(sent)
        if error == errno.EMSGSIZE:
            search.too_big(size, None, None)
            continue
        answer = None if error else _wait_for(carrier, poll, sent)
        if answer is None:
            search.silent(size)
        elif answer.kind is Kind.REACHED:
            search.passed(size)
        elif answer.kind is Kind.TOO_BIG:
            search.too_big(size, answer.mtu, answer.address)
        else:  # a router lets nothing pass, of no size
            return PathMtu(None)
    return PathMtu(search.mtu, search.black_hole, search.told_by)


def arrival(received_ns: int | None, now: Instant) -> Instant:
    """Return when something came: by the kernel's timestamp, unless the clock was set since."""
    if received_ns is None or not 0 <= now.wall_ns - received_ns <= KERNEL_STAMP_AGE_NS_MAX:
        return now
    return now.at_wall(received_ns)


def _wait_for(carrier: Carrier, poll: select.poll, sent: Sent) -> Answer | None:
    """Return the answer to a packet; None if none comes in time."""
    deadline_ns = time.monotonic_ns() + MTU_TIMEOUT_NS
    while True:
        late = time.monotonic_ns() >= deadline_ns
        for what, _ in carrier.read():
            if isinstance(what, Answer) and what.sent.number == sent.number:
                return what
        if late:
            return None
        poll.poll(_wait_ms(deadline_ns))


def _poll(carrier: Carrier) -> select.poll:
    poll = select.poll()
    for sock in carrier.sockets():
        poll.register(sock, select.POLLIN)
    return poll


def _wait_ms(until_ns: int | None) -> int:
    if until_ns is None:
        return 0
    wait_ns = until_ns - time.monotonic_ns()
    return max(0, min(-(-wait_ns // _MS_NS), _WAIT_MS_MAX))
