"""A run over a real estate: no emulator, no incident, until it is told to stop."""

from __future__ import annotations

import errno
import math
import pathlib
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from types import FrameType

from rich.console import Console

from analytics.store.sqlite import SqliteStore
from netslo.app.commands.probe import check_sites
from netslo.app.floors import ProbeFloors
from netslo.app.parts.reflectors import stations_of
from netslo.app.run import Run
from netslo.app.screen import Screen
from netslo.app.watch import Watch
from netslo.errors import ConfigurationError, NetsloError
from netslo.estate import Estate
from netslo.model import Endpoint
from netslo.signals import sigterm_interrupts
from slo.objective import Objective

_TICK_S = 1.0
_REFRESH_TICKS = 5
_SPAN_S = 300

Load = Callable[[], tuple[Estate, Sequence[Objective]]]


def run_up(
    load: Load,
    sites: tuple[str, ...],
    listen: Endpoint,
    data_dir: pathlib.Path,
    duration_s: float | None,
) -> None:
    """Start the parts that belong on this host and show the last five minutes until stopped.

    SIGHUP has `load` called again.

    Raises:
        NetsloError: a part could not start or ended unexpectedly.
    """
    estate, objectives = load()
    check_sites(estate, sites)
    here = sites or local_sites(estate)
    stations = stations_of(estate, here)
    console = Console()
    with (
        sigterm_interrupts(),
        _hang_ups() as hang_ups,
        Run(estate, objectives, data_dir) as run,
    ):
        collector = run.start_collector(listen)
        run.start_stations(stations, here)
        run.start_probes(here, {}, collector)
        title = f"netslo up · {estate.name} · {', '.join(here)} · http://{collector}"
        with closing(SqliteStore.open(run.store_file, readonly=True)) as store:
            watch = Watch(store, estate, objectives, time.time(), _SPAN_S, ProbeFloors(collector))
            display = _Display(run, watch, Screen(console, title), load, here, collector, hang_ups)
            display.show(duration_s)


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


@dataclass(slots=True)
class _Display:
    """Shows a run, and has its configuration read again when asked."""

    run: Run
    watch: Watch
    screen: Screen
    load: Load
    here: tuple[str, ...]
    collector: Endpoint
    hang_ups: list[int]  # one for each SIGHUP that nobody has seen to
    log: list[str] = field(default_factory=list)

    def show(self, duration_s: float | None) -> None:
        """Show until the time is over, or Ctrl-C."""
        ends_s = math.inf if duration_s is None else time.time() + duration_s
        with self.screen:
            try:
                ticks = 0
                while (now_s := time.time()) < ends_s:
                    if self.hang_ups:
                        self.hang_ups.clear()
                        self._reload()
                    if ticks % _REFRESH_TICKS == 0:
                        self.watch.refresh(now_s)
                    until_s = None if duration_s is None else ends_s
                    self.screen.draw(self.watch, now_s, until_s, self.log)
                    self.run.check()
                    ticks += 1
                    time.sleep(max(0.0, _TICK_S - (time.time() - now_s)))
            except KeyboardInterrupt:
                pass

    def _reload(self) -> None:
        """Pass a new configuration on to every part, or say why the one before stays."""
        try:
            estate, objectives = self.load()
            check_sites(estate, self.here)
            stations = stations_of(estate, self.here)
            self.run.reconfigure(estate, objectives, stations, self.here, self.collector)
        except NetsloError as error:
            self.log += [*str(error).splitlines(), "not reloaded, all goes on"]
            return
        self.watch.estate, self.watch.objectives = estate, objectives
        self.log.append(
            f"reloaded: {len(estate.measured_paths)} paths, {len(objectives)} objectives"
        )


@contextmanager
def _hang_ups() -> Iterator[list[int]]:
    """Yield a list that grows by one with each SIGHUP."""
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    previous = signal.signal(signal.SIGHUP, note)
    try:
        yield received
    finally:
        signal.signal(signal.SIGHUP, previous)
