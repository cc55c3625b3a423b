"""One STAMP packet there and back, without a network."""

from __future__ import annotations

from probes.instant import Instant
from probes.stamp.reflector import Accepted, Reflector
from probes.stamp.sender import Sender

KEY = b"a key that both ends share"
WALL_NS = 1_800_000_000_000_000_000
PEER = ("192.0.2.7", 50_000)


def exchange(
    sender: Sender, reflector: Reflector, at_ns: int = 0, dwell_ns: int = 1000
) -> tuple[Accepted, bytes, Instant]:
    """Send one packet there and back; 10 ms each way."""
    there = sender.send(Instant(WALL_NS + at_ns, at_ns))
    accepted = reflector.receive(there, PEER, 61)
    assert isinstance(accepted, Accepted)
    t2_ns = WALL_NS + at_ns + 10_000_000
    back = reflector.reply(accepted, t2_ns, t2_ns + dwell_ns)
    assert len(back) == len(there)
    span_ns = 20_000_000 + dwell_ns
    return accepted, back, Instant(WALL_NS + at_ns + span_ns, at_ns + span_ns)
