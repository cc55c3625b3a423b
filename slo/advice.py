"""What is allowed but will surprise: said by `slo check`, never refused."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from netslo.estate import Estate
from netslo.units import format_duration
from slo.burn import BurnPair
from slo.objective import Objective


def advise(objective: Objective, estate: Estate) -> list[str]:
    """Return what the author of `objective` should know, most important first."""
    return [*_advise_on_alerts(objective, estate), *_advise_on_calendar(objective)]


def _advise_on_alerts(objective: Objective, estate: Estate) -> Iterator[str]:
    interval_s = Fraction(str(estate.plan.interval_s))
    bad_min = objective.alerts.guard.bad_events_min
    for pair in objective.alerts.pairs:
        error_ratio = pair.error_ratio_min(objective.target, objective.window_s)
        enough_s = pair.long_s * error_ratio / bad_min
        if error_ratio >= 1:
            yield (
                f"{objective.name}: the {_describe(pair)} can never fire: it needs more than "
                f"{float(error_ratio) * 100:.0f} % of the packets to be bad"
            )
        elif interval_s > enough_s:
            yield (
                f"{objective.name}: the {_describe(pair)} is slow: with a probe every "
                f"{float(interval_s):g} s its threshold is less than {bad_min} bad "
                f"packets; probe at least every {float(enough_s):.3g} s"
            )


def _advise_on_calendar(objective: Objective) -> Iterator[str]:
    if objective.calendar is not None:
        yield (
            f"{objective.name}: the {objective.calendar.duration} calendar window is for reviews; "
            f"budget and alerts here are over the last {format_duration(objective.window_s)}"
        )


def _describe(pair: BurnPair) -> str:
    return f"{pair.severity.value} on {pair.long} and {pair.short}"
