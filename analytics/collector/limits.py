"""What the collector takes from the network, and how it says no."""

from __future__ import annotations

from dataclasses import dataclass, field

from analytics.otlp import Limits as RequestLimits


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of what one peer, or all of them together, can make the collector do."""

    body_bytes_max: int = 4 * 2**20  # as it comes
    # An empty protobuf message has two octets on the wire and a hundred in memory: what may be
    # parsed at once bounds memory at fifty times its size. 8 MiB hold 10,000 paths' windows.
    decompressed_bytes_max: int = 8 * 2**20
    body_timeout_s: float = 15.0  # for the whole body, however it trickles in
    requests_max: int = 128  # under way at the same time
    pending_bytes_max: int = 64 * 2**20  # bodies under way, as they come
    retry_after_s: int = 2  # asked of a probe when there is no room
    full_retry_after_s: int = 30  # when the disk is full
    future_s: float = 300.0  # how far ahead a window may lie: clocks differ
    age_s: float = 35 * 86400.0  # how old it may be
    count_max: int = 10**9  # packets or events of one path in one window
    probes_max: int = 1000  # whose health is remembered
    request: RequestLimits = field(default_factory=RequestLimits)


class Refusal(Exception):
    """A request is not accepted; `status` and the message go back to the sender."""

    def __init__(self, status: int, message: str, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s
