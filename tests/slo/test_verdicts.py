"""What is known and what is not, of made-up standings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from slo.burn import PAIRS
from slo.engine.verdicts import PairJudge, Verdict
from slo.ledger import Standing
from slo.policy import AlertPolicy
from slo.rules.expressions import LATE_MARGIN_S

NOW_S = 1_800_000_000


def standing(objective, estate, events, bad) -> Standing:
    """Return one where every path has as many events by length of window."""
    keys = tuple((objective.name, path) for path in objective.paths(estate))
    lengths_s = tuple(sorted(events))
    counts = [
        np.array([[of[length_s]] * len(keys) for length_s in lengths_s]) for of in (events, bad)
    ]
    none = np.zeros_like(counts[0])
    return Standing(
        NOW_S, keys, {key: row for row, key in enumerate(keys)}, lengths_s,
        tuple(NOW_S - s for s in lengths_s), *counts, none, counts[0],
        np.full(len(keys), 1000), none,
    )  # fmt: skip


@pytest.fixture
def page(loss):
    return replace(loss, target_text="0.999", alerts=AlertPolicy(pairs=PAIRS[:1]))


@pytest.mark.parametrize("ago_s", [0, 300 + LATE_MARGIN_S - 1, 300 + LATE_MARGIN_S])
def test_a_backlog_makes_short_windows_of_its_site_unknown_for_a_while(page, estate, ago_s) -> None:
    burning = standing(page, estate, {300: 1500, 3600: 18_000}, {300: 1500, 3600: 1500})
    judged = PairJudge([page], estate).judge(burning, {"leeds": ago_s})
    (found,) = judged.pairs
    for (_, path), verdict in zip(found.keys, found.verdicts.tolist(), strict=True):
        held = path.src == "leeds" and ago_s < 300 + LATE_MARGIN_S
        assert verdict == (Verdict.UNKNOWN if held else Verdict.FIRES)
    assert not judged.unknown  # a backlog is no lack of data


def test_a_backlog_keeps_no_ticket_of_days_waiting(loss, estate) -> None:
    both = replace(loss, target_text="0.999", alerts=AlertPolicy(pairs=(PAIRS[0], PAIRS[2])))
    events = {300: 1500, 3600: 18_000, 7200: 36_000, 86_400: 432_000}
    burning = standing(both, estate, events, {s: n // 10 for s, n in events.items()})
    page, ticket = PairJudge([both], estate).judge(burning, {"leeds": 0.0}).pairs
    for (_, path), of_page, of_ticket in zip(
        page.keys, page.verdicts.tolist(), ticket.verdicts.tolist(), strict=True
    ):
        assert of_page == (Verdict.UNKNOWN if path.src == "leeds" else Verdict.FIRES)
        assert of_ticket == Verdict.FIRES
