"""What the kernel knows of a TCP connection (linux/tcp.h, struct tcp_info)."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Final

SIZE: Final = 256  # octets to ask the kernel for; it gives as many as it has
_LEAST: Final = 168  # up to the delivery rate, since Linux 4.9; longer ones have more behind
_LIMITS: Final = 192  # up to the times of limits, since Linux 4.10
_TIMEOUTS: Final = 242  # up to the count of time-outs, since Linux 6.7

# ca_state, total_retrans and so on, at their offsets
_CA_STATE: Final = 1
_U16: Final = Struct("=H")
_U32: Final = Struct("=I")
_U64: Final = Struct("=Q")
SSTHRESH_NONE: Final = 0x7FFFFFFF  # still in its first slow start
CA_OPEN: Final = 0
CA_LOSS: Final = 4  # a retransmission timer ran out
_US: Final = 1e-6


@dataclass(frozen=True, slots=True)
class TcpInfo:
    """The counters of one connection, at one time; seconds and octets.

    The three times and the time-outs are None where the kernel is too old to tell them.
    """

    ca_state: int  # 0: no trouble
    mss: int
    sacked: int  # segments that the far end has, behind a hole
    rtt_s: float
    ssthresh: int  # SSTHRESH_NONE: never left slow start
    cwnd: int
    retransmitted: int
    bytes_acked: int
    segments_out: int
    min_rtt_s: float
    delivery_rate_bit_s: float
    busy_s: float | None
    receiver_limited_s: float | None
    sender_limited_s: float | None
    timeouts: int | None  # of the retransmission timer; 65,535 is followed by 0

    @property
    def delivered(self) -> int:
        """Octets that the far end has, those included that wait behind a hole."""
        return self.bytes_acked + self.sacked * self.mss

    @property
    def in_slow_start(self) -> bool:
        """Whether the connection has not met its limit yet."""
        return self.ssthresh >= SSTHRESH_NONE


def parse_tcp_info(octets: bytes) -> TcpInfo | None:
    """Return what a kernel said by TCP_INFO; None: it is too old to say enough."""
    if len(octets) < _LEAST:
        return None

    def u32(at: int) -> int:
        return int(_U32.unpack_from(octets, at)[0])

    def u64(at: int) -> int:
        return int(_U64.unpack_from(octets, at)[0])

    limits = len(octets) >= _LIMITS
    return TcpInfo(
        ca_state=octets[_CA_STATE],
        mss=u32(16),
        sacked=u32(28),
        rtt_s=u32(68) * _US,
        ssthresh=u32(76),
        cwnd=u32(80),
        retransmitted=u32(100),
        bytes_acked=u64(120),
        segments_out=u32(156),  # with data
        min_rtt_s=u32(148) * _US,
        delivery_rate_bit_s=u64(160) * 8.0,
        busy_s=u64(168) * _US if limits else None,
        receiver_limited_s=u64(176) * _US if limits else None,
        sender_limited_s=u64(184) * _US if limits else None,
        timeouts=_U16.unpack_from(octets, 240)[0] if len(octets) >= _TIMEOUTS else None,
    )
