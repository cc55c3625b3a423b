"""Which tests an estate's sites run regularly, and what they take of a site's budget."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from netslo.estate import Estate
from netslo.model import NS_PER_S, Path
from probes.bandwidth.bottleneck import names_between
from probes.bandwidth.measuring import octets_of_load, octets_of_trains
from probes.bandwidth.plan import BandwidthPlan, Direction, Method

AGENT: Final = "agent"  # who tests, in a budget


@dataclass(frozen=True, slots=True)
class RegularTest:
    """A test that is run every `interval_ns`, from a phase at random."""

    path: Path
    plan: BandwidthPlan = field(repr=False)
    interval_ns: int
    directory: pathlib.Path  # the site's state directory
    octets_a_day: int  # the site's budget


def plan_tests(
    estate: Estate,
    directories: Mapping[str, pathlib.Path],
    keys: Mapping[pathlib.Path, bytes],
) -> tuple[RegularTest, ...]:
    """Plan a test of each link that begins at one of our sites, to a site that offers tests.

    Args:
        estate: Links, and the plan.
        directories: The state directory of each of our sites.
        keys: The octets of each key file that the estate names for a far site.
    """
    testing = estate.testing
    if testing is None:
        return ()
    found = []
    for path in estate.tested_paths:
        if path.src in directories:
            key_file = estate.key_files.get(path.dst)
            plan = _plan(estate, path, None if key_file is None else keys[key_file])
            found.append(
                RegularTest(
                    path,
                    plan,
                    round(testing.interval_s * NS_PER_S),
                    directories[path.src],
                    testing.octets_a_day,
                )
            )
    return tuple(found)


def octets_a_day(estate: Estate, site: str) -> int:
    """Return what a site's regular tests take in a day, octets, if links have their capacities."""
    testing = estate.testing
    if testing is None:
        return 0
    rounds = 86_400 / testing.interval_s
    found = 0.0
    for path in estate.tested_paths:
        if path.src == site:
            plan = _plan(estate, path, None)
            each = octets_of_trains(plan)
            if plan.method is Method.TCP:
                each += octets_of_load(plan, estate.link_capacity(path))[0]
            found += rounds * len(plan.directions) * each
    return round(found)


def _plan(estate: Estate, path: Path, secret: bytes | None) -> BandwidthPlan:
    testing, server = estate.testing, estate.bandwidth_server(path.dst)
    assert testing is not None
    assert server is not None
    return BandwidthPlan(
        target=server,
        method=Method(testing.method),
        directions=tuple(Direction(each.value) for each in testing.directions),
        streams=testing.streams,
        seconds=testing.seconds,
        secret=secret,
        stamp=None,
        bottlenecks=names_between(path.src, path.dst),
        holder=f"the agent of {path.src}",
    )
