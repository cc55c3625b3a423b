"""Which windows of a path are no evidence, because a capacity test loaded what it shares."""

from __future__ import annotations

import json
import logging
import pathlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from netslo.estate import Estate
from netslo.model import NS_PER_S, Path, Window
from probes.bandwidth.book import LeaseBook, Load
from probes.bandwidth.bottleneck import is_link, own_link
from probes.bandwidth.clock import boot_id, now_s
from probes.bandwidth.state import LEASES_FILE, NEW

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SharedLoads:
    """The tests that a path shares a bottleneck with, by the leases of its site.

    A path whose ends have a link of their own takes that one, and shares it with tests of that
    link. Of any other path the way is not known, and of a test between bare addresses what it
    loads: these share it with every test at their site.
    """

    directory: pathlib.Path  # the site's state directory; need not be there
    link: str | None  # the path's own link
    flight_ns: int  # the most that one of its packets is under way

    def spoil(self, window: Window) -> bool:
        """Whether a packet of the window may have met the packets of a test.

        Asked once the window's packets are settled, which is when every test that began in the
        window, or while a packet of it was under way, has been written down.
        """
        start_ns = window.start_s * NS_PER_S
        end_ns = window.end_s * NS_PER_S + self.flight_ns
        return any(
            load.overlaps(start_ns, end_ns) and self._shares(load)
            for load in loads_of(self.directory)
        )

    def _shares(self, load: Load) -> bool:
        known = [name for name in load.names if is_link(name)]
        return self.link is None or not known or self.link in known


def shared_loads(
    estate: Estate, directories: Mapping[str, pathlib.Path]
) -> dict[Path, SharedLoads]:
    """Return what the paths of sites share, by path.

    Args:
        estate: Links, services and time-outs.
        directories: The state directory of each site.
    """
    found = {}
    for path in estate.measured_paths:
        if path.src in directories:
            service = estate.services.get(path.dst)
            far = path.dst if service is None else service.site
            link = None if far is None else own_link(estate.links, path.src, far)
            flight_ns = round(estate.timeout_s(path) * NS_PER_S)
            found[path] = SharedLoads(directories[path.src], link, flight_ns)
    return found


# What the file of a directory said when it was read last, and which file that was. Files change
# whole and each has a time of its own, so that many windows are judged by one reading.
_Known = tuple[tuple[int, int], LeaseBook]
_known: Final[dict[pathlib.Path, _Known]] = {}


def loads_of(directory: pathlib.Path) -> list[Load]:
    """Return what was loaded lately, or is, by the leases of a state directory."""
    file = directory / LEASES_FILE
    try:
        found = file.stat()
    except OSError:  # nobody ever tested here
        return []
    which = (found.st_ino, found.st_mtime_ns)
    known = _known.get(directory)
    if known is None or known[0] != which:
        known = _known[directory] = (which, _read(file))
    return known[1].all_loads(now_s(), time.time_ns())


def _read(file: pathlib.Path) -> LeaseBook:
    try:
        body = file.read_bytes()
        if body != NEW:
            return LeaseBook.from_json(json.loads(body), boot_id(), now_s(), time.time_ns())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        _log.warning("%s: cannot be read, so no window is set aside: %s", file, error)
    return LeaseBook.empty()
