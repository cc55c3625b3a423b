"""A bandwidth server in a thread of its own, beside a process's reflectors."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from typing import Final

from netslo.errors import ConfigurationError
from netslo.model import Endpoint
from probes.address import resolve
from probes.bandwidth.admission import ServerLimits
from probes.bandwidth.plan import Leases
from probes.bandwidth.server import BandwidthServer
from probes.reflectors import is_own

_END_S: Final = 5.0


class BandwidthService:
    """Begins a server, sees that it goes on, ends it. For one thread."""

    def __init__(
        self, endpoints: Sequence[Endpoint], limits: ServerLimits, leases: Leases | None = None
    ) -> None:
        self._wanted = tuple(endpoints)
        self._limits = limits
        self._leases = leases
        self._server: BandwidthServer | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    @property
    def tests(self) -> int:
        """Tests that began."""
        return 0 if self._server is None else self._server.tests

    @property
    def testing(self) -> str | None:
        """Who tests now."""
        return None if self._server is None else self._server.testing

    @property
    def discarded(self) -> Counter[str]:
        """Requests that were refused, by the reason."""
        return Counter() if self._server is None else self._server.discarded.copy()

    def bind(self, stamp: Sequence[Endpoint] = ()) -> None:
        """Listen, but answer nobody before `begin`: what is wrong with an address shows at once.

        Args:
            stamp: Where this process answers STAMP packets, or is about to.

        Raises:
            ConfigurationError: a name does not resolve, an address is not this host's, or a port
                is needed for both.
            NetsloError: an address cannot be bound.
        """
        for endpoint in self._wanted:
            if endpoint.port and any(endpoint.port == each.port for each in stamp):
                raise ConfigurationError(
                    f"--bandwidth {endpoint}: UDP port {endpoint.port} answers STAMP already; "
                    "expected another port"
                )
            _check_own(endpoint)
        self._server = BandwidthServer(self._wanted, limits=self._limits, leases=self._leases)

    def begin(self, key: bytes | None, stamp: Sequence[Endpoint] = ()) -> tuple[Endpoint, ...]:
        """Serve from now on; return where.

        Args:
            key: The key that clients must have, if they must.
            stamp: Where this process answers STAMP packets: the first port is named to clients.

        Raises:
            NetsloError: as `bind`, where that was not done before.
        """
        if self._server is None:
            self.bind(stamp)
        assert self._server is not None
        self._server.key = key
        self._server.stamp_port = stamp[0].port if stamp else None
        self._thread = threading.Thread(target=self._run, name="bandwidth server", daemon=True)
        self._thread.start()
        return self._server.endpoints

    def take_key(self, key: bytes | None) -> None:
        """Have connections from now on prove this key."""
        if self._server is not None:
            self._server.key = key

    def check(self) -> None:
        """See that the server still works.

        Raises:
            BaseException: what it failed with.
        """
        if self._failure is not None:
            raise self._failure

    def end(self) -> None:
        """Serve no more; what is under way is broken off."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_END_S)
        elif self._server is not None:
            self._server.close()

    def _run(self) -> None:
        assert self._server is not None
        try:
            self._server.run(self._stop)
        except BaseException as error:  # noqa: BLE001 - it is raised again in the owner's thread
            self._failure = error


def _check_own(endpoint: Endpoint) -> None:
    """Refuse what no socket of this host can be bound to."""
    try:
        address = resolve(endpoint)
    except OSError as error:
        raise ConfigurationError(
            f"cannot answer bandwidth tests on {endpoint}: {error.strerror}"
        ) from error
    if not is_own(address):
        raise ConfigurationError(
            f"cannot answer bandwidth tests on {endpoint}: the address is not one of this host"
        )
