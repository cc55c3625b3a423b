"""Reflectors of one process: by key a server in a thread of its own, changed while they run."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from netslo.errors import ConfigurationError, NetsloError
from netslo.model import Endpoint
from probes.address import SocketAddress, resolve_all
from probes.reflector import ReflectorServer
from probes.stamp.rate_limit import RateLimit

_END_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Station:
    """Where test packets are answered, and by which key if only authenticated ones are."""

    endpoint: Endpoint
    key: bytes | None = field(default=None, repr=False)


@dataclass(slots=True)
class _Server:
    """One key's reflector at work."""

    server: ReflectorServer
    stop: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread = field(init=False)
    failure: BaseException | None = None

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._run, name="reflect", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.server.run(self.stop)
        except BaseException as error:  # noqa: BLE001 - it is raised again in the owner's thread
            self.failure = error

    def end(self) -> None:
        self.stop.set()
        self.thread.join(_END_S)


_Group = tuple[bytes | None, tuple[Endpoint, ...]]


class Reflectors:
    """Answers at stations, and at others when told so. For one thread."""

    def __init__(self, *, stateful: bool = True, rate_limit: RateLimit | None = None) -> None:
        self._stateful = stateful
        self._limit = rate_limit
        self._running: dict[_Group, _Server] = {}
        self._reflected = 0  # by servers that have ended
        self._discarded: Counter[str] = Counter()

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Where it answers: every address, with the ports the system chose where 0 was asked."""
        return tuple(each for x in self._running.values() for each in x.server.endpoints)

    @property
    def reflected(self) -> int:
        """Packets that were answered."""
        return self._reflected + sum(x.server.reflected for x in self._running.values())

    @property
    def discarded(self) -> Counter[str]:
        """Packets that were not, by the reason."""
        return sum((x.server.discarded for x in self._running.values()), self._discarded.copy())

    def arrange(self, stations: Iterable[Station]) -> None:
        """Answer at these stations and no others; a key's are untouched if they are the same.

        Raises:
            NetsloError: a name does not resolve or an address cannot be bound; what was
                answered before is answered again.
        """
        wanted = _groups(stations)
        before = list(self._running)
        for group in [group for group in before if group not in wanted]:
            self._end(group)
        try:
            self._begin(group for group in wanted if group not in self._running)
        except NetsloError:
            for group in [group for group in self._running if group not in before]:
                self._end(group)
            self._begin(group for group in before if group not in self._running)
            raise

    def check(self) -> None:
        """See that every server still works.

        Raises:
            BaseException: what one of them failed with.
        """
        for each in self._running.values():
            if each.failure is not None:
                raise each.failure

    def end(self) -> None:
        """Answer no more."""
        for group in list(self._running):
            self._end(group)

    def _begin(self, groups: Iterable[_Group]) -> None:
        for key, endpoints in groups:
            server = ReflectorServer(
                endpoints, stateful=self._stateful, key=key, rate_limit=self._limit
            )
            self._running[key, endpoints] = _Server(server)

    def _end(self, group: _Group) -> None:
        gone = self._running.pop(group)
        gone.end()
        self._reflected += gone.server.reflected
        self._discarded += gone.server.discarded


def _groups(stations: Iterable[Station]) -> list[_Group]:
    """Gather the stations of each key, at every address of this host that they name."""
    found: dict[bytes | None, list[Endpoint]] = {}
    for station in stations:
        found.setdefault(station.key, []).extend(_addresses(station.endpoint))
    return [(key, tuple(endpoints)) for key, endpoints in found.items()]


def _addresses(endpoint: Endpoint) -> Sequence[Endpoint]:
    """Return the addresses of a name that are this host's; if it has but one, just that."""
    try:
        found = resolve_all(endpoint)
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {endpoint}: {error.strerror}") from error
    own = [address for address in found if is_own(address)] or found[:1]
    return [Endpoint(address.host, endpoint.port) for address in own]


def is_own(address: SocketAddress) -> bool:
    """Whether a socket can be bound to an address: only a host's own allow that."""
    try:
        with socket.socket(address.family, socket.SOCK_DGRAM) as sock:
            host, _, *rest = address.sockaddr
            sock.bind((host, 0, *rest))
    except OSError:
        return False
    return True
