"""The sending side of one session of ICMP echo, without a socket or a clock."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from enum import StrEnum
from struct import Struct
from typing import Final

from probes.icmp.packet import (
    ICMP,
    IDENTIFIERS,
    SEQUENCES,
    Echo,
    EchoError,
    OtherMessage,
    Protocol,
    Trouble,
    WrongChecksum,
    checksum,
    read_message,
    write_echo,
)
from probes.instant import Instant
from probes.stamp.error_estimate import ErrorEstimate
from probes.stamp.events import Discarded, Duplicate, Event, Late, Replied

DATA_SIZE: Final = 56  # octets, as ping has: nobody on the way treats it otherwise
UNKNOWN_NS: Final = -1  # a time of the far end that it did not tell
CLOCK_NOISE_NS: Final = 50_000  # how far readings of the clocks may be off in one round trip

_MARK: Final = Struct("!QQ")  # the number of the packet, and its own random bits
_BALANCE_SIZE: Final = 2
_NO_ESTIMATE: Final = ErrorEstimate.bounding(None, synchronised=False)


class EchoFault(StrEnum):
    """Why a message is not the answer to anything we sent."""

    SHORT = "shorter than our ICMP echo"
    OTHER = "ICMP, but no echo reply"
    CHECKSUM = "ICMP checksum does not fit"
    IDENTIFIER = "echo of another's ping"
    SEQUENCE = "unknown ICMP sequence number"
    MARK = "echo without our mark"
    EARLY = "echo before the request left"
    QUOTE = "ICMP error about another's packet"
    UNREACHABLE = f"ICMP: {Trouble.UNREACHABLE}"
    TOO_BIG = f"ICMP: {Trouble.TOO_BIG}"
    TIME_EXCEEDED = f"ICMP: {Trouble.TIME_EXCEEDED}"
    PARAMETER = f"ICMP: {Trouble.PARAMETER}"


@dataclass(frozen=True, slots=True)
class Echoed(Replied):
    """The first echo in time of a packet in flight.

    The far end tells no time: `received_ns` and `replied_ns` are unknown, and its dwell, which
    is that of its kernel in general, is part of `rtt_ns`.
    """


@dataclass(slots=True)
class _Sent:
    """A packet in flight, or lately so."""

    at: Instant
    mark: bytes
    answered: bool = False


class IcmpSender:
    """Sends echo requests and recognises their replies; called as `probes.stamp.sender.Sender` is.

    The identifier belongs to the socket: whoever opens one tells it to `bind`, with nothing in
    flight. Packets are numbered without end, the message has the low 16 bits of the number. An
    answer must return the whole number and the packet's own 64 random bits, its mark: a guess has
    one chance in 2**64, a reply from an earlier turn of the 16 bits is known as such, and an
    invalid answer does not consume the packet it names. Data behind the mark may be missing:
    some hosts cut long replies.

    Two octets behind the mark make up for what changes before them, so that all packets of a
    session have one checksum: routers that spread load hash it, as if it were a UDP port.

    An ICMP error about a packet of ours is discarded under its own name, and the packet is lost
    by its time-out: anybody can forge such an error, for it need not quote the mark.
    """

    def __init__(
        self,
        timeout_ns: int,
        *,
        protocol: Protocol = ICMP,
        identifier: int | None = None,
        data_size: int = DATA_SIZE,
        memory: int = 1024,
    ) -> None:
        self.timeout_ns = timeout_ns
        self.error_estimate = _NO_ESTIMATE  # of our clock; no echo carries it
        self.bind(protocol, secrets.randbelow(IDENTIFIERS) if identifier is None else identifier)
        self._padding = bytes(max(0, data_size - _MARK.size - _BALANCE_SIZE))
        self._memory = memory
        self._next_seq = 0
        self._in_flight: dict[int, _Sent] = {}  # in the order of sending
        self._settled: dict[int, _Sent] = {}  # in the order of settling

    @property
    def next_seq(self) -> int:
        """The number of the next packet."""
        return self._next_seq

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    @property
    def next_deadline_ns(self) -> int | None:
        """The monotonic time after which the oldest packet in flight is lost."""
        for sent in self._in_flight.values():
            return sent.at.mono_ns + self.timeout_ns
        return None

    def bind(self, protocol: Protocol, identifier: int) -> None:
        """Use the protocol and the identifier of a socket from now on."""
        self.protocol = protocol
        self.identifier = identifier

    def send(self, now: Instant) -> bytes:
        """Return the next packet, sent at `now`."""
        seq = self._next_seq
        self._next_seq += 1
        mark = _MARK.pack(seq, secrets.randbits(64))
        self._in_flight[seq] = _Sent(now, mark)
        sequence = seq % SEQUENCES
        balance = checksum(sequence.to_bytes(2) + mark).to_bytes(_BALANCE_SIZE)
        data = mark + balance + self._padding
        echo = Echo(reply=False, identifier=self.identifier, sequence=sequence, data=data)
        return write_echo(self.protocol, echo)

    def transmitted(self, seq: int, left_ns: int) -> bool:
        """Note when a packet really left: Unix time, from whoever transmitted it.

        False if it is too late for that: the answer has come already, or will not come.
        """
        sent = self._in_flight.get(seq)
        if sent is None:
            return False
        sent.at = sent.at.at_wall(left_ns)
        return True

    def withdraw(self, seq: int) -> None:
        """Forget a packet in flight that could not be transmitted."""
        del self._in_flight[seq]

    def withdraw_all(self) -> list[int]:
        """Forget every packet in flight; return their numbers."""
        seqs = list(self._in_flight)
        self._in_flight.clear()
        return seqs

    def receive(self, datagram: bytes, now: Instant) -> Event:
        """Judge an ICMP message that arrived at `now` (its wall time may be a kernel timestamp)."""
        echo = self._read(datagram)
        found = echo if isinstance(echo, EchoFault) else self._find(echo)
        if isinstance(found, EchoFault):
            return Discarded(found)
        seq, sent = found
        if sent.answered:
            return Duplicate(seq)
        span_ns = now.mono_ns - sent.at.mono_ns
        if span_ns > self.timeout_ns or seq in self._settled:
            return Late(seq)  # if it is in flight still, `expire` will say that it is lost
        if span_ns < -CLOCK_NOISE_NS:
            return Discarded(EchoFault.EARLY)
        sent.answered = True
        self._settle(seq)
        return Echoed(
            seq=seq,
            rtt_ns=max(0, span_ns),
            sent=sent.at,
            received_ns=UNKNOWN_NS,
            replied_ns=UNKNOWN_NS,
            reflector_seq=seq,
            ttl=0,
            error_estimate=_NO_ESTIMATE,
        )

    def expire(self, now: Instant) -> list[int]:
        """Give up packets not answered within the time-out; return their numbers."""
        lost: list[int] = []
        for seq, sent in self._in_flight.items():
            if now.mono_ns - sent.at.mono_ns <= self.timeout_ns:
                break
            lost.append(seq)
        for seq in lost:
            self._settle(seq)
        return lost

    def _read(self, datagram: bytes) -> Echo | EchoFault:
        """Return the echo reply that a message is."""
        try:
            message = read_message(self.protocol, datagram)
        except WrongChecksum:
            return EchoFault.CHECKSUM
        except OtherMessage:
            return EchoFault.OTHER
        except ValueError:
            return EchoFault.SHORT
        if isinstance(message, EchoError):
            return self._judge(message)
        return message if message.reply else EchoFault.OTHER

    def _find(self, echo: Echo) -> tuple[int, _Sent] | EchoFault:
        """Return the packet that a reply answers."""
        if echo.identifier != self.identifier:
            return EchoFault.IDENTIFIER
        if len(echo.data) < _MARK.size:
            return EchoFault.SHORT
        seq, _ = _MARK.unpack_from(echo.data)
        sent = self._lookup(seq)
        if sent is None or echo.sequence != seq % SEQUENCES:
            return EchoFault.SEQUENCE
        if not secrets.compare_digest(echo.data[: _MARK.size], sent.mark):
            return EchoFault.MARK
        return seq, sent

    def _judge(self, error: EchoError) -> EchoFault:
        """Return what an error says of a packet of ours; as much as it quotes must be right."""
        quoted, newest = error.quoted, self._next_seq - 1
        sent = self._lookup(newest - (newest - quoted.sequence) % SEQUENCES)
        if sent is None or quoted.identifier != self.identifier:
            return EchoFault.QUOTE
        if not sent.mark.startswith(quoted.data[: _MARK.size]):
            return EchoFault.QUOTE
        return EchoFault[error.trouble.name]

    def _lookup(self, seq: int) -> _Sent | None:
        return self._in_flight.get(seq) or self._settled.get(seq)

    def _settle(self, seq: int) -> None:
        """Remember a packet for its duplicates and late answers, and forget the oldest."""
        self._settled[seq] = self._in_flight.pop(seq)
        while len(self._settled) > self._memory:
            del self._settled[next(iter(self._settled))]
