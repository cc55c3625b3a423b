"""The part that answers test packets."""

from __future__ import annotations

import pathlib
import threading
from collections.abc import Mapping, Sequence
from typing import Final

from netslo.app.children import Link
from netslo.config.keys import read_keys
from netslo.errors import NetsloError
from netslo.estate import Estate
from netslo.model import Endpoint, ProbeKind
from probes.bandwidth.stations import BandwidthServers, TestStation
from probes.reflectors import Reflectors, Station

_TICK_S: Final = 0.2


def stations_of(estate: Estate, sites: Sequence[str]) -> tuple[Station, ...]:
    """Return where the reflectors of sites answer, and by which keys.

    A site that is probed by ICMP has none.

    Raises:
        ConfigurationError: a key file is no good.
    """
    keys = read_keys({file for site, file in estate.key_files.items() if site in sites})
    return tuple(
        Station(
            estate.sites[site].addresses[0],
            keys[estate.key_files[site]] if site in estate.key_files else None,
        )
        for site in sites
        if estate.probes.get(site) is not ProbeKind.ICMP
    )


def test_stations_of(estate: Estate, states: Mapping[str, pathlib.Path]) -> tuple[TestStation, ...]:
    """Return where sites answer bandwidth tests, those that offer any.

    Args:
        estate: Their addresses and keys.
        states: The state directory of each site of this host.

    Raises:
        ConfigurationError: a key file is no good.
    """
    offered = [site for site in states if estate.bandwidth_server(site) is not None]
    keys = read_keys({file for site, file in estate.key_files.items() if site in offered})
    found = []
    for site in offered:
        server = estate.bandwidth_server(site)
        assert server is not None
        stamp = estate.probes.get(site) is not ProbeKind.ICMP
        key = keys[estate.key_files[site]] if site in estate.key_files else None
        reflector = estate.sites[site].addresses[0] if stamp else None
        found.append(TestStation(server, states[site], reflector, key))
    return tuple(found)


def reflectors_part(link: Link, listen: Mapping[str, Endpoint]) -> None:
    """Answer for several sites; ready with the bound address of each."""
    reflectors = Reflectors()
    reflectors.arrange(Station(endpoint) for endpoint in listen.values())
    link.ready(dict(zip(listen, reflectors.endpoints, strict=True)))
    link.stopped.wait()
    reflectors.end()


def stations_part(
    link: Link, stations: Sequence[Station], tests: Sequence[TestStation] = ()
) -> None:
    """Answer at stations, and bandwidth tests; ready with the bound addresses of the first.

    Answers a request: `("reload", stations, tests)`, with what was wrong with them or None.
    """
    reflectors, servers, lock = Reflectors(), BandwidthServers(), threading.Lock()

    def reload(request: tuple[str, Sequence[Station], Sequence[TestStation]]) -> str | None:
        try:
            with lock:
                reflectors.arrange(request[1])
                servers.arrange(request[2])
        except NetsloError as error:
            return str(error)
        return None

    reflectors.arrange(stations)
    servers.arrange(tests)
    link.ready(reflectors.endpoints)
    link.answer_requests(reload)
    while not link.stopped.wait(_TICK_S):
        with lock:
            reflectors.check()
            servers.check()
    with lock:
        servers.end()
        reflectors.end()
