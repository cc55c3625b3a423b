"""What is due in one window of a session, until all of it is settled."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from netslo.model import Quality, Window
from probes.outcome import NO_SPAN, OUTCOME, QUALITIES, UNKNOWN, Outcomes, State


@dataclass(slots=True)
class Packet:
    """One due packet and what became of it; the fields of `OUTCOME`."""

    ledger: WindowLedger
    due_ns: int
    position: int = UNKNOWN  # in the order of sending, unbounded; UNKNOWN: it was not sent
    offset_ns: int = 0  # wall minus monotonic when it was sent
    stamped: bool = False  # the kernel has told when it left
    state: State = State.PENDING
    quality: Quality = Quality.C
    rtt_ns: int = NO_SPAN
    forward_ns: int = NO_SPAN
    backward_ns: int = NO_SPAN
    order: int = UNKNOWN
    reflector_sequence: int = UNKNOWN
    duplicates: int = 0
    ttl: int = UNKNOWN
    reply_ttl: int = UNKNOWN
    dscp: int = UNKNOWN
    extent: int = 0
    far_error: int = UNKNOWN

    def settle(self, state: State) -> None:
        """Give the packet its one outcome."""
        self.state = state
        self.ledger.pending -= 1

    def row(self) -> tuple[int, ...]:
        """Return the packet as a row of `OUTCOME`."""
        return (
            self.due_ns,
            self.rtt_ns,
            self.forward_ns,
            self.backward_ns,
            self.order,
            self.reflector_sequence,
            self.position,
            self.duplicates,
            self.extent,
            self.far_error,
            self.state,
            QUALITIES.index(self.quality),
            self.ttl,
            self.reply_ttl,
            self.dscp,
            UNKNOWN,
            self.extent > 0,
        )


@dataclass(slots=True)
class WindowLedger:
    """Every due packet is entered once, by `enter`, and settled once.

    `close_ns` is the monotonic time from which the window may be closed, if it is settled.
    """

    window: Window
    close_ns: int
    pending: int = 0
    seqs: list[int] = field(default_factory=list)  # of the packets sent, to be forgotten
    unmeasured: int = 0  # packets without a row of their own
    _packets: list[Packet] = field(default_factory=list)

    def enter(self, due_ns: int) -> Packet:
        """Let a packet of this window become due."""
        packet = Packet(self, due_ns)
        self._packets.append(packet)
        self.pending += 1
        return packet

    def missed(self, due_ns: int, packets: int) -> None:
        """Count packets, the first of them due then, which the prober came too late to send."""
        self.enter(due_ns).settle(State.UNMEASURED)
        self.unmeasured += packets - 1

    def close(self) -> Outcomes:
        """Return the packets in the order of their due times; the ledger is of no further use.

        Raises:
            ValueError: packets are still pending.
        """
        if self.pending:
            raise ValueError(f"{self.pending} packets of {self.window} are pending")
        rows = np.array([packet.row() for packet in self._packets], OUTCOME)
        return rows[np.argsort(rows["due_ns"], kind="stable")]
