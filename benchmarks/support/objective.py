"""What backtests judge: loss, as an SLO document has it."""

from __future__ import annotations

from collections.abc import Iterable

from netslo.model import Scope
from slo.objective import Indicator, Objective, PathSelector


def loss_objective(scopes: Iterable[Scope]) -> Objective:
    """Return an objective of 99.9 % answered packets on the paths of some scopes."""
    return Objective(
        name="loss",
        display_name="loss",
        description="",
        service="backbone",
        indicator=Indicator.LOSS,
        limit=None,
        target_text="0.999",
        selector=PathSelector(scopes=frozenset(scopes)),
    )
