"""A small estate, objectives over it and a store that counts the obvious way."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import pytest

from analytics.store import SloTotals
from analytics.store.interface import KeptFrom
from analytics.windows import Selector, SeriesKey, SloCounts
from netslo.estate import Estate, ProbingPlan
from netslo.model import Endpoint, Location, Path, Scope, Site, Tier, TrafficClass
from slo.objective import Indicator, Objective, PathSelector


def make_site(name: str, tier: Tier, region: str) -> Site:
    return Site(name, tier, region, "gb", Location(51.5, -0.1), (Endpoint("127.0.0.1", 18620),))


def make_estate(interval_s: float = 0.2, timeout_s: float = 1.0) -> Estate:
    sites = (
        make_site("london", Tier.NATIONAL, "south"),
        make_site("reading", Tier.REGIONAL, "south"),
        make_site("brighton", Tier.EDGE, "south"),
        make_site("leeds", Tier.NATIONAL, "north"),
    )
    classes = (TrafficClass("ef", 46), TrafficClass("be", 0))
    return Estate(
        name="test",
        currency="GBP",
        sites={site.name: site for site in sites},
        classes={c.name: c for c in classes},
        links=(),
        plan=ProbingPlan(interval_s, timeout_s),
    )


LATENCY = Objective(
    name="national-latency",
    display_name="National latency",
    description="Any two regions within 100 ms",
    service="backbone",
    indicator=Indicator.LATENCY,
    limit=0.1,
    target_text="0.999",
    selector=PathSelector(scopes=frozenset({Scope.NATIONAL})),
    owner="noc",
    runbook="https://runbooks.example/n?a=1",
)
LOSS = replace(
    LATENCY,
    name="loss",
    display_name='Loss "of packets"',
    indicator=Indicator.LOSS,
    limit=None,
    target_text="0.99",
    selector=PathSelector(),
    owner=None,
    runbook=None,
)


@dataclass
class CountedStore:
    """The part of a window store that judging asks, as a list of windows."""

    rows: list[tuple[int, Path, str, str, SloCounts]] = field(default_factory=list)
    asked: list[tuple[int, int]] = field(default_factory=list)
    counts_from_s: int = 0

    @property
    def queries(self) -> int:
        return len(self.asked)

    def add(
        self,
        start_s: int,
        path: Path,
        slo: Objective,
        good: int = 0,
        bad: int = 0,
        unmeasured: int = 0,
        target: str | None = None,
    ) -> None:
        counts = SloCounts(good, bad, unmeasured)
        self.rows.append((start_s, path, slo.name, target or slo.target_text, counts))

    def slo_counts(self, selector: Selector, start_s: int, end_s: int) -> list[SloTotals]:
        self.asked.append((start_s, end_s))
        return self._total(
            row
            for row in self.rows
            if start_s <= row[0] < end_s and selector.matches(SeriesKey(row[1]))
        )

    def kept_from(self) -> KeptFrom:
        return KeptFrom(self.counts_from_s, 0)

    def targets(self) -> dict[str, list[tuple[int, str]]]:
        """Return what the windows were under, the strictest last, so that it is in force."""
        found: dict[str, set[str]] = {}
        for _, _, slo, target, _ in self.rows:
            found.setdefault(slo, set()).add(target)
        return {slo: [(0, target) for target in sorted(of)] for slo, of in found.items()}

    def slo_totals(self) -> list[SloTotals]:
        return self._total(self.rows)

    @staticmethod
    def _total(rows: Iterable[tuple[int, Path, str, str, SloCounts]]) -> list[SloTotals]:
        found: dict[tuple[Path, str, str], SloCounts] = {}
        for _, path, slo, target, counts in rows:
            found.setdefault((path, slo, target), SloCounts()).add(counts)
        return [SloTotals(*key, counts) for key, counts in sorted(found.items())]


@pytest.fixture(scope="session")
def estate() -> Estate:
    return make_estate()


@pytest.fixture(scope="session")
def new_estate() -> Callable[..., Estate]:
    return make_estate


def _covering(objective: Objective, request: pytest.FixtureRequest) -> Objective:
    """Return an objective with the least coverage that a module of tests names, if it does."""
    least = getattr(request.module, "COVERAGE_MIN", objective.coverage_min)
    return replace(objective, coverage_min=least)


@pytest.fixture(scope="module")
def latency(request: pytest.FixtureRequest) -> Objective:
    """99.9 % within 100 ms on the national paths."""
    return _covering(LATENCY, request)


@pytest.fixture(scope="module")
def loss(request: pytest.FixtureRequest) -> Objective:
    """99 % answered on every path."""
    return _covering(LOSS, request)


@pytest.fixture
def store() -> CountedStore:
    return CountedStore()


@pytest.fixture(scope="session")
def new_store() -> type[CountedStore]:
    return CountedStore
