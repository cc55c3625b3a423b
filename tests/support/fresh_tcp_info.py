"""What a kernel says of a TCP connection of which nothing was sent yet."""

from __future__ import annotations

from probes.bandwidth.tcp_info import SSTHRESH_NONE, TcpInfo

MSS = 1448
FRESH = TcpInfo(
    ca_state=0,
    mss=MSS,
    sacked=0,
    rtt_s=0.02,
    ssthresh=SSTHRESH_NONE,
    cwnd=10,
    retransmitted=0,
    bytes_acked=0,
    segments_out=0,
    min_rtt_s=0.01,
    delivery_rate_bit_s=0.0,
    busy_s=0.0,
    receiver_limited_s=0.0,
    sender_limited_s=0.0,
    timeouts=0,
)
