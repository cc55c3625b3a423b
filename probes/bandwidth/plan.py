"""What a bandwidth test shall do, and what it asks before it starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

from netslo.model import Endpoint

PORT: Final = 8862  # of the control channel and, by the same number, of the trains' datagrams
STREAMS_MAX: Final = 16
CONGESTION_NAME: Final = r"^[a-z0-9_-]{1,15}$"  # a kernel's have no others
SECONDS_MAX: Final = 120.0  # of one load: a lease is held for at most 300 s


class Direction(StrEnum):
    """Which way the load goes: from here to the far end, or back."""

    FORWARD = "forward"
    REVERSE = "reverse"


class Method(StrEnum):
    """How the bandwidth is measured."""

    TRAIN = "train"
    TCP = "tcp"
    IPERF3 = "iperf3"


class Lease(Protocol):
    """A bottleneck that nobody else tests meanwhile."""

    @property
    def usable(self) -> bool:
        """Whether the test may go on: the lease has not run out, nor is about to."""

    def release(self) -> None:
        """Give it back; more than once does no harm."""


class Leases(Protocol):
    """Who tests which bottleneck. For several threads."""

    @property
    def id(self) -> str | None:
        """Which keeper of leases this is; ends with the same id go by the same leases."""

    def grant(self, names: tuple[str, ...], seconds: float, holder: str) -> Lease:
        """Let `holder` test these bottlenecks, all or none, until released or for so long.

        Raises:
            BusyError: another has one of them.
        """


@dataclass(frozen=True, slots=True)
class BandwidthPlan:
    """A test of one target.

    Attributes:
        target: The far end's bandwidth server, or iperf3 server.
        method: By which method.
        directions: In this order, one after the other.
        streams: TCP connections side by side.
        seconds: How long each direction is loaded by TCP.
        congestion: The congestion control of the sender; None: its host's default.
        trains: How many packet trains for each direction.
        packets: Of each train.
        octets_max: What TCP may carry in each direction at most; None: by what trains found.
        stamp: Where a STAMP reflector answers beside the load; None: where the server says.
        loaded_latency: Measure round trips before and during the load.
        secret: The key that both ends share, if the server wants one.
        bottlenecks: Names of what the test loads, for the lease at the far end.
        holder: Who tests, for whoever finds the bottleneck busy.
    """

    target: Endpoint
    method: Method = Method.TCP
    directions: tuple[Direction, ...] = (Direction.FORWARD,)
    streams: int = 1
    seconds: float = 10.0
    congestion: str | None = None
    trains: int = 10
    packets: int = 60
    octets_max: int | None = None
    stamp: Endpoint | None = None
    loaded_latency: bool = True
    secret: bytes | None = field(default=None, repr=False)
    bottlenecks: tuple[str, ...] = ()
    holder: str = "netslo"
