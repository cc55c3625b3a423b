"""Who mutes what: an alert's first region names every exclusion that is about it, and no other."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netslo.errors import ConfigurationError
from netslo.model import Path
from slo.exclusion import Covers, Exclusion
from slo.rules.mute_regions import of_paths, of_sites, parted

SITES = ["leeds", "london", "reading"]
SLOS = ["loss", "delay"]
PATHS = [Path(src, dst, c) for src in SITES for dst in SITES for c in ("be", "ef") if src != dst]


def subsets(names):
    return st.frozensets(st.sampled_from(names), max_size=2)


COVERS = st.builds(Covers, subsets(SLOS), subsets(PATHS), subsets(SITES))


def exclusions(covers):
    return [Exclusion(f"x{n}", 0, 300, "a", "r", 0, each) for n, each in enumerate(covers)]


def first_match(regions, labels):
    """Take the first region as Alertmanager takes the first route: by its matchers alone."""
    for region, names in regions.items():
        wanted = [re.fullmatch(r'(\w+)=~"(.*)"', matcher).groups() for matcher in region.matchers]
        if all(re.fullmatch(values, labels.get(label, "")) for label, values in wanted):
            return set(names)
    return set()


@settings(deadline=None)
@given(st.lists(COVERS, max_size=6))
def test_each_alert_is_muted_by_all_that_are_about_it_and_by_no_other(covers):
    made = exclusions(covers)
    regions = parted((region, x.id) for x in made for region in of_paths(x))
    for path in PATHS:
        for slo in SLOS:
            labels = {"slo": slo, "path": path.id, "src_site": path.src, "dst_site": path.dst}
            assert first_match(regions, labels) == {
                x.id for x in made if x.covers.matches(slo, path)
            }
    of_probes = parted((region, x.id) for x in made for region in of_sites(x))
    for site in SITES:
        assert first_match(of_probes, {"src_site": site}) == {
            x.id for x in made if x.covers.has_site(site)
        }


def test_twenty_sites_in_maintenance_at_once_are_within_bounds():
    made = exclusions(Covers(sites=frozenset({f"site{n}"})) for n in range(20))
    regions = parted((region, x.id) for x in made for region in of_paths(x))
    assert len(regions) == 20 * 2 + 20 * 19


def test_too_many_overlaps_are_refused():
    made = exclusions(
        Covers(paths=frozenset(PATHS[:n] + PATHS[n + 1 :])) for n in range(len(PATHS))
    )
    with pytest.raises(ConfigurationError, match="overlap in more than 500 ways"):
        parted((region, x.id) for x in made for region in of_paths(x))
