"""The scripted incident of the demo: one national path goes bad for a while."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from netslo.estate import Estate
from netslo.model import Path, Tier
from probes.emulator.model import Impairment
from slo.status import SloStatus

IMPAIRMENT: Final = Impairment(extra_delay_s=0.060, loss=0.02, jitter_factor=3.0)
WARM_UP_S: Final = 60.0


@dataclass(slots=True)
class Incident:
    """When the path is impaired, and when its burn was first seen; Unix seconds.

    The incident lasts from `starts_s` to `ends_s`, as planned until it is so; `visible_s` is the
    first moment at which the evaluation showed the path burning fast enough to page somebody.
    """

    path: Path
    starts_s: float
    ends_s: float
    active: bool = False
    over: bool = False
    visible_s: float | None = None

    def due_change(self, now_s: float) -> Impairment | bool | None:
        """Return the impairment to apply, None to lift it, False when nothing changes."""
        if not self.active and not self.over and now_s >= self.starts_s:
            self.active, self.starts_s = True, now_s
            return IMPAIRMENT
        if self.active and now_s >= self.ends_s:
            self.active, self.over, self.ends_s = False, True, now_s
            return None
        return False

    def observe(self, statuses: list[SloStatus], now_s: float) -> bool:
        """Note the first evaluation in which the path burns; True for that one only."""
        if self.visible_s is not None or now_s < self.starts_s:
            return False
        burning = any(status.path == self.path and status.burning for status in statuses)
        if burning:
            self.visible_s = now_s
        return burning

    def to_json(self) -> dict[str, Any]:
        """Return the shape of `demo --json`; what did not happen is null."""
        visible = self.visible_s
        return {
            "path": self.path.id,
            "started": self.starts_s if self.active or self.over else None,
            "ended": self.ends_s if self.over else None,
            "visible_after": None if visible is None else visible - self.starts_s,
        }


def plan_incident(estate: Estate, started_s: float, duration_s: float) -> Incident:
    """Choose the path between a pair of national sites, in the first class of the file.

    It begins after a minute (or a third of a shorter run) and ends at two thirds.

    Raises:
        ValueError: the estate has no such pair.
    """
    src, dst = national_pair(estate)
    path = Path(src, dst, next(iter(estate.classes)))
    begin = started_s + min(WARM_UP_S, duration_s / 3)
    return Incident(path, begin, started_s + duration_s * 2 / 3)


def national_pair(estate: Estate) -> tuple[str, str]:
    """Return the first national site of the file, and the last of those in another region.

    Raises:
        ValueError: there are no two.
    """
    national = [site for site in estate.sites.values() if site.tier is Tier.NATIONAL]
    pairs = ((a, b) for a in national for b in reversed(national) if a.region != b.region)
    pair = next(pairs, None)
    if pair is None:
        raise ValueError("the demo's incident needs two national sites in different regions")
    return pair[0].name, pair[1].name
