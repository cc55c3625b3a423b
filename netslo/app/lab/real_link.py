"""The demo's real link as the demo sees it: which path it carries, and what it did to it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from netslo.app.children import START_TIMEOUT_S, Child
from netslo.app.incident import Incident, national_pair
from netslo.app.lab.network import PRIMARY_BIT_S
from netslo.estate import Estate, TraceSettings
from netslo.model import Endpoint, Path, Window
from netslo.route import RouteObservation

if TYPE_CHECKING:
    from netslo.app.parts.lab import Task
    from probes.emulator.log import Truth

SUBFOLDER: Final = "real-link"  # of spools and states, beside the sites'
_TRACE_S: Final = 5.0
_INCIDENT_S_MIN: Final = 25.0
_BEFORE: Final = 0.3  # of the time before the incident has passed when the first test begins
_WITHIN: Final = 0.3  # of the incident, when the second does


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


def traced(estate: Estate) -> Estate:
    """Return the estate with routes watched every few seconds, where real ones take minutes."""
    return replace(estate, plan=replace(estate.plan, trace=TraceSettings(_TRACE_S, flows=1)))


def untraced(estate: Estate) -> Estate:
    """Return the estate without: over the emulator, every site is one hop away."""
    return replace(estate, plan=replace(estate.plan, trace=None))


def plan_capacity_tests(incident: Incident, started_s: float) -> list[float]:
    """Return when to test: once on an ordinary day, once while the better branch does not work.

    A short incident has no time for it.
    """
    if incident.ends_s - incident.starts_s < _INCIDENT_S_MIN:
        return []
    ordinary_s = started_s + _BEFORE * (incident.starts_s - started_s)
    broken_s = incident.starts_s + _WITHIN * (incident.ends_s - incident.starts_s)
    return [ordinary_s, broken_s]


@dataclass(slots=True)
class RealLink:
    """The link at work; Unix seconds."""

    path: Path
    child: Child
    far: Endpoint
    failed_s: float | None = None  # its better branch
    mended_s: float | None = None
    failures: list[str] = field(default_factory=list)  # of capacity tests
    change: RouteObservation | None = None  # the first one seen after it failed

    def prepare(self, task: Task) -> None:
        """Have everything there that `measure` needs."""
        self.child.request(("prepare", task), START_TIMEOUT_S)

    def measure(self, task: Task) -> None:
        """Begin to measure across it."""
        self.child.request(("measure", task))

    def test(self) -> None:
        """Have its capacity tested."""
        self.child.request(("test",))

    def break_primary(self, now_s: float) -> None:
        """Let the better branch fail."""
        self.failed_s = now_s
        self.child.request(("primary", False))

    def mend_primary(self, now_s: float) -> None:
        """Let the better branch work again."""
        self.mended_s = now_s
        self.child.request(("primary", True))

    def end(self) -> None:
        """Measure no further packet."""
        self.failures = self.child.request(("end",))

    def wait(self) -> None:
        """Wait until what was under way at the end has been delivered."""
        self.child.request(("wait",))

    def truth(self, without: Collection[Window] = ()) -> Truth:
        """Return what the network did to packets which left outside of some windows."""
        truth: Truth = self.child.request(("truth", tuple(without)))
        return truth
