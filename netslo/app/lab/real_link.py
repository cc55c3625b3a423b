"""The demo's real link as the demo sees it: which path it carries, and what it did to it."""

from __future__ import annotations

import pathlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from netslo.app.children import START_TIMEOUT_S, Child
from netslo.app.incident import national_pair
from netslo.app.lab.network import PRIMARY_BIT_S
from netslo.estate import Estate
from netslo.model import Endpoint, Path, Window

if TYPE_CHECKING:
    from netslo.app.parts.probes import Plan
    from probes.emulator.log import Truth

SPOOL_DIR: Final = "real-link"  # beside those of the sites


def carried_path(estate: Estate) -> Path:
    """Return the path that goes over it: between the incident's sites, in the file's last class."""
    return Path(*national_pair(estate), list(estate.classes)[-1])


def with_its_capacity(estate: Estate) -> Estate:
    """Return the estate with the capacity which the link between these sites really has."""
    ends = set(national_pair(estate))
    links = (
        replace(link, capacity_bits_per_second=PRIMARY_BIT_S) if {link.a, link.b} == ends else link
        for link in estate.links
    )
    return replace(estate, links=tuple(links))


@dataclass(slots=True)
class RealLink:
    """The link at work; Unix seconds."""

    path: Path
    child: Child
    far: Endpoint
    failed_s: float | None = None  # its better branch
    mended_s: float | None = None

    def measure(self, plans: Sequence[Plan], collector: Endpoint, spool_dir: pathlib.Path) -> None:
        """Begin to measure across it, when its far site answers."""
        own = tuple(plan for plan in plans if plan.key.path == self.path)
        sites = (self.path.src,)
        self.child.request(
            ("measure", own, sites, collector, spool_dir / SPOOL_DIR), START_TIMEOUT_S
        )

    def break_primary(self, now_s: float) -> None:
        """Let the better branch fail."""
        self.failed_s = now_s
        self.child.request(("primary", False))

    def mend_primary(self, now_s: float) -> None:
        """Let the better branch work again."""
        self.mended_s = now_s
        self.child.request(("primary", True))

    def end(self) -> None:
        """Measure no further packet; `truth` waits for what is under way."""
        self.child.request(("end",))

    def truth(self, without: Collection[Window] = ()) -> Truth:
        """Return what the network did to packets which left outside of some windows."""
        truth: Truth = self.child.request(("truth", tuple(without)))
        return truth
