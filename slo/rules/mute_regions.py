"""Which alerts which exclusions mute, parted so that each alert is in one part.

Alertmanager takes the first route that matches and mutes by what is written there. So an alert
that several exclusions are about needs a route which names them all, ahead of theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from netslo.errors import ConfigurationError
from netslo.model import Path
from slo.exclusion import Exclusion

REGIONS_MAX: Final = 500

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Region:
    """Alerts by their labels; None: any."""

    slos: frozenset[str] | None = None
    paths: frozenset[Path] | None = None
    src_sites: frozenset[str] | None = None
    dst_sites: frozenset[str] | None = None

    @property
    def matchers(self) -> list[str]:
        """Return the matchers of a route; names have no character that means anything in one."""
        paths = None if self.paths is None else {path.id for path in self.paths}
        labels = {
            "slo": self.slos,
            "path": paths,
            "src_site": self.src_sites,
            "dst_site": self.dst_sites,
        }
        return [
            f'{label}=~"{"|".join(sorted(names))}"'
            for label, names in labels.items()
            if names is not None
        ]

    def within(self, other: Region) -> Region | None:
        """Return what is in both; None where no alert is."""
        src, dst = _both(self.src_sites, other.src_sites), _both(self.dst_sites, other.dst_sites)
        paths = _both(self.paths, other.paths)
        if paths is not None:  # a path has its ends, which say nothing more
            paths = frozenset(
                path
                for path in paths
                if (src is None or path.src in src) and (dst is None or path.dst in dst)
            )
            src = dst = None
        region = Region(_both(self.slos, other.slos), paths, src, dst)
        names = (region.slos, region.paths, region.src_sites, region.dst_sites)
        return None if any(each is not None and not each for each in names) else region


_Mutes = dict[Region, frozenset[str]]


def of_paths(exclusion: Exclusion) -> tuple[Region, ...]:
    """Return where alerts of paths are that an exclusion is about: a site may be at either end."""
    covers = exclusion.covers
    common = Region(covers.slos or None, covers.paths or None)
    if not covers.sites:
        return (common,)
    ends = Region(src_sites=covers.sites), Region(dst_sites=covers.sites)
    return tuple(region for end in ends if (region := common.within(end)) is not None)


def of_sites(exclusion: Exclusion) -> tuple[Region, ...]:
    """Return where alerts of sites are that an exclusion is about with all their paths."""
    return (Region(src_sites=exclusion.covers.sites or None),) if exclusion.covers.whole else ()


def parted(mutes: Iterable[tuple[Region, str]]) -> Mapping[Region, tuple[str, ...]]:
    """Return regions with the names of all that mute in them, those with most of them first.

    So the first region that an alert is in has all that mute it.

    Raises:
        ConfigurationError: exclusions overlap in more ways than a configuration can hold.
    """
    found: _Mutes = {}
    for region, name in mutes:
        new: _Mutes = {region: frozenset({name})}
        for other, names in found.items():
            both = region.within(other)
            if both is not None:
                new[both] = new.get(both, frozenset()) | names | {name}
        for each, names in new.items():
            found[each] = found.get(each, frozenset()) | names
        if len(found) > REGIONS_MAX:
            raise ConfigurationError(
                f"exclusions: those to come overlap in more than {REGIONS_MAX} ways, for each of "
                "which Alertmanager needs routes; declare some as one, or take some back"
            )
    needed = {region: names for region, names in found.items() if not _wider(region, found)}
    ordered = sorted(needed, key=lambda region: (-len(needed[region]), region.matchers))
    return {region: tuple(sorted(needed[region])) for region in ordered}


def _wider(region: Region, found: _Mutes) -> bool:
    """Whether a region that holds this one has the same mutes."""
    return any(
        other != region and names == found[region] and region.within(other) == region
        for other, names in found.items()
    )


def _both(some: frozenset[_T] | None, more: frozenset[_T] | None) -> frozenset[_T] | None:
    if some is None or more is None:
        return more if some is None else some
    return some & more
