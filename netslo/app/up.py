"""A run over a real estate: no emulator, no incident, until it is told to stop."""

from __future__ import annotations

import errno
import math
import pathlib
import socket
import time
from collections.abc import Sequence
from contextlib import closing

from rich.console import Console

from analytics.store.sqlite import SqliteStore
from netslo.app.commands.probe import check_sites
from netslo.app.floors import ProbeFloors
from netslo.app.run import Run
from netslo.app.screen import Screen
from netslo.app.signals import sigterm_interrupts
from netslo.app.watch import Watch
from netslo.errors import ConfigurationError
from netslo.estate import Estate
from netslo.model import Endpoint
from slo.objective import Objective

_TICK_S = 1.0
_REFRESH_TICKS = 5
_SPAN_S = 300


def run_up(
    estate: Estate,
    objectives: Sequence[Objective],
    sites: tuple[str, ...],
    listen: Endpoint,
    data_dir: pathlib.Path,
    duration_s: float | None,
) -> None:
    """Start the parts that belong on this host and show the last five minutes until stopped.

    Raises:
        NetsloError: a part could not start or ended unexpectedly.
    """
    check_sites(estate, sites)
    here = sites or local_sites(estate)
    console = Console()
    with sigterm_interrupts(), Run(estate, objectives, data_dir) as run:
        collector = run.start_collector(listen)
        run.start_reflectors({site: estate.sites[site].addresses[0] for site in here})
        run.start_probes(here, {}, collector)
        title = f"netslo up · {estate.name} · {', '.join(here)} · http://{collector}"
        with closing(SqliteStore.open(run.store_file, readonly=True)) as store:
            watch = Watch(store, estate, objectives, time.time(), _SPAN_S, ProbeFloors(collector))
            _show(run, watch, Screen(console, title), duration_s)


def local_sites(estate: Estate) -> tuple[str, ...]:
    """Return the sites whose first address is one of this host's.

    Raises:
        ConfigurationError: there is none.
    """
    found = tuple(name for name, site in estate.sites.items() if _is_local(site.addresses[0].host))
    if not found:
        raise ConfigurationError(
            "no site of the estate has an address of this host; name yours with --site NAME"
        )
    return found


def _is_local(host: str) -> bool:
    """Whether a socket can be bound to `host`, which only a host's own address allows."""
    try:
        candidates = socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM)
    except OSError:
        return False
    for family, kind, protocol, _, address in candidates:
        with socket.socket(family, kind, protocol) as probe:
            try:
                probe.bind(address)
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL:
                    raise
            else:
                return True
    return False


def _show(run: Run, watch: Watch, screen: Screen, duration_s: float | None) -> None:
    ends_s = math.inf if duration_s is None else time.time() + duration_s
    with screen:
        try:
            ticks = 0
            while (now_s := time.time()) < ends_s:
                if ticks % _REFRESH_TICKS == 0:
                    watch.refresh(now_s)
                screen.draw(watch, now_s, None if duration_s is None else ends_s, ())
                run.check()
                ticks += 1
                time.sleep(max(0.0, _TICK_S - (time.time() - now_s)))
        except KeyboardInterrupt:
            pass
