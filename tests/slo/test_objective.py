from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from slo.objective import PathSelector


def test_an_estate_is_looked_through_once_for_what_many_alerts_ask(
    estate, latency, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    matches = PathSelector.matches

    def counted(self, path, estate) -> bool:
        nonlocal asked
        asked += 1
        return matches(self, path, estate)

    monkeypatch.setattr(PathSelector, "matches", counted)
    fresh = replace(estate)
    for _ in range(100):
        assert latency.paths(fresh) == latency.paths(estate)
        assert latency.interval_s(fresh) == Fraction(str(fresh.plan.interval_s))
    assert asked <= 2 * len(fresh.measured_paths)


def test_another_estate_and_another_selector_have_their_own(estate, latency) -> None:
    assert latency.interval_s(estate) == Fraction(1, 5)
    slower = replace(estate, plan=replace(estate.plan, interval_s=7.0))
    assert slower == replace(slower)
    assert latency.interval_s(slower) == 7
    none = replace(latency, selector=PathSelector(sources=frozenset({"nowhere"})))
    assert none.paths(estate) == ()
    assert latency.paths(estate)
