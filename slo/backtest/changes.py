"""What of an objective shall be otherwise: read from words of a command line, and checked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Final

from netslo.errors import ConfigurationError
from netslo.estate import Estate
from netslo.units import parse_duration, parse_rate
from slo.annotations import (
    PAIRS_MAX,
    expect_distinct,
    make_pair,
    order,
    parse_pairs,
    parse_window,
)
from slo.backtest.thresholds import metric_of
from slo.budget import MissingData
from slo.burn import BurnPair, Severity
from slo.feasibility import warn
from slo.number import TARGET_DIGITS_MAX, decimal_places
from slo.objective import Indicator, Objective

_PAIR: Final = re.compile(
    r"(?P<severity>\w+):(?P<long>\w+)(/(?P<short>\w+))?:(?P<rate>[\d.]{1,19})"
)


@dataclass(frozen=True, slots=True)
class Change:
    """What shall be otherwise, as it was written; None where nothing shall."""

    target: str | None = None
    threshold: str | None = None
    pairs: Sequence[str] = ()
    missing_data: str | None = None

    def __bool__(self) -> bool:
        return bool(self.target or self.threshold or self.pairs or self.missing_data)


def changed(objective: Objective, change: Change, timeout_s: float) -> Objective:
    """Return an objective with the changes made.

    Args:
        objective: What is changed.
        change: How.
        timeout_s: Of the probes: no threshold beyond it can be told from a loss.

    Raises:
        ConfigurationError: with every word that cannot be.
    """
    problems: list[str] = []

    def attempt(option: str, text: str, made: Objective) -> Objective:
        try:
            return _READERS[option](text, made, timeout_s)
        except ValueError as error:
            problems.append(f"{option} {text}: {error}")
            return made

    found = objective
    for option, text in (
        ("--target", change.target),
        ("--threshold", change.threshold),
        ("--missing-data", change.missing_data),
        ("--pair", ", ".join(change.pairs) or None),
    ):
        if text is not None:
            found = attempt(option, text, found)
    if problems:
        raise ConfigurationError("\n".join(problems))
    return found


def surprises(objective: Objective, changed: Objective, estate: Estate) -> list[str]:
    """Return what of a changed objective will surprise, as `slo check` would say it.

    What is said of the objective as it is, too, is left out.
    """
    known = warn(objective, estate)
    found = [text for text in warn(changed, estate) if text not in known]
    paths, others = set(objective.paths(estate)), set(changed.paths(estate))
    if paths != others:
        found.append(
            f"{changed.name}: its document selects {len(others)} paths; judged are the "
            f"{len(paths)} of {objective.name} as it is, for only they were counted"
        )
    return found


def read_target(text: str) -> str:
    """Read `99.95%` or `0.9995` as an exact decimal ratio.

    Raises:
        ValueError: it is none inside (0, 1).
    """
    bare = text.strip().removesuffix("%").strip()
    try:
        exact = Decimal(bare)
    except InvalidOperation:
        exact = Decimal("NaN")
    if exact.is_finite() and text.strip().endswith("%"):
        exact = exact.scaleb(-2)
    if not (exact.is_finite() and 0 < exact < 1):
        raise ValueError("must be a ratio such as 99.95% or 0.9995: above 0 and below 1")
    if decimal_places(exact) > TARGET_DIGITS_MAX:
        raise ValueError(f"must have at most {TARGET_DIGITS_MAX} decimal places, as a ratio")
    return f"{exact.normalize():f}"


def read_pair(text: str, period_s: int) -> tuple[BurnPair, ...]:
    """Read `page:1h/5m:14.4`, by burn rate, or the form of `netslo.dev/alert-pairs`.

    Raises:
        ValueError: it is neither.
    """
    match = _PAIR.fullmatch(text.strip())
    if match is None:
        if ":" in text:
            raise ValueError(f"{text!r} must be severity, windows and burn rate: page:1h/5m:14.4")
        return parse_pairs(text)
    if match["severity"] not in {severity.value for severity in Severity}:
        raise ValueError(f"{text!r} must begin with {' or '.join(s.value for s in Severity)}")
    try:
        rate = Fraction(match["rate"])
    except ValueError as error:
        raise ValueError(f"{match['rate']!r} is no burn rate such as 14.4") from error
    long_s = parse_window(match["long"], "the long window")
    short_s = parse_window(match["short"], "the short window") if match["short"] else None
    share = rate * long_s / period_s
    if not 0 < share <= 1:
        limit = float(Fraction(period_s, long_s))
        raise ValueError(f"a burn rate of {match['rate']} must be above 0 and at most {limit:g}")
    return (make_pair(Severity(match["severity"]), share, long_s, short_s),)


def _target(text: str, objective: Objective, _timeout_s: float) -> Objective:
    return replace(objective, target_text=read_target(text))


def _threshold(text: str, objective: Objective, timeout_s: float) -> Objective:
    if objective.rate is not None:
        return replace(objective, limit=parse_rate(text))
    if objective.limit_s is None:
        raise ValueError(f"{objective.name} has no threshold")
    limit_s = parse_duration(text)
    if not limit_s < timeout_s:
        raise ValueError(f"must be less than the probes' time-out of {timeout_s:g} s")
    return replace(objective, limit=limit_s)


def _missing(text: str, objective: Objective, _timeout_s: float) -> Objective:
    if text not in {policy.value for policy in MissingData}:
        raise ValueError(f"must be one of {', '.join(policy.value for policy in MissingData)}")
    return replace(objective, missing_data=MissingData(text))


def _pairs(text: str, objective: Objective, _timeout_s: float) -> Objective:
    found: list[BurnPair] = []
    for part in text.split(","):
        found += read_pair(part, objective.window_s)
    if len(found) > PAIRS_MAX:
        raise ValueError(f"has {len(found)} pairs; at most {PAIRS_MAX} are kept")
    expect_distinct(found)
    if any(pair.long_s > objective.window_s for pair in found):
        raise ValueError("has a window longer than the period")
    return replace(objective, alerts=replace(objective.alerts, pairs=order(found)))


_READERS: Final = {
    "--target": _target,
    "--threshold": _threshold,
    "--missing-data": _missing,
    "--pair": _pairs,
}


def expect_comparable(objective: Objective, changed: Objective) -> str | None:
    """Say why what was counted of one objective cannot be judged by another; None: it can."""
    of_rates = [o.indicator is Indicator.BANDWIDTH for o in (objective, changed)]
    if all(of_rates):  # every test is kept, also those of another direction or method
        return None
    measured = [(o.measure, o.direction, o.limit is None) for o in (objective, changed)]
    if any(of_rates) or measured[0] != measured[1]:
        return f"must measure what {objective.name} does, as only that was counted"
    if changed.limit != objective.limit and metric_of(objective) is None:
        return (
            f"no distribution of what {objective.name} measures is kept; "
            "only round trips, one-way delays and PDV of round trips can be judged anew"
        )
    return None
