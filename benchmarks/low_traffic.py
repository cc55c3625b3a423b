"""False pages of few probes, and how long real faults take: one guard beside another.

Each of 300 paths loses packets at random, each on its own, for 28 days; half of the error budget
goes that way. Every page is a false one. Faults then begin at a random moment on the same paths.
All of it is judged by `slo.backtest`, with the guards and pairs of `slo.burn`; the least number
of bad events is what both the rules and the engine ask for.

    python benchmarks/low_traffic.py [--paths 300] [--seed 1] [--quick]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from netslo.estate import Estate as Network
from netslo.estate import ProbingPlan
from netslo.model import Path
from slo.backtest.history import History
from slo.backtest.replay import Episode, replay
from slo.burn import GUARD, PAIRS, BurnPair, Guard, Severity, chance_of_at_least
from slo.objective import Indicator, Objective, PathSelector
from slo.policy import AlertPolicy

DAY_S = 86_400
STEP_S = 60
PERIOD_S = 28 * DAY_S
WARM_S = 3 * DAY_S  # the longest window of a pair
TARGET = "0.999"
START_S = 1_790_000_000 // DAY_S * DAY_S
FALSE_PAGES_MAX = 0.02  # for each path in 28 days

GUARDS = {
    "none": Guard(1),
    "3 bad": Guard(3),
    "5 bad": Guard(5),
    "netslo": GUARD,
}
INTERVALS_S = (60, 10, 1)
BACKGROUNDS = (0.0002, 0.0005)  # a fifth and half of the budget
FAULTS = {"total loss": 1.0, "50 %": 0.5, "10 %": 0.1, "3 %": 0.03}  # 100, 50, 10 ... of it lost


@dataclass(frozen=True)
class Estate:
    """Paths that are probed so often."""

    paths: int
    interval_s: int

    @property
    def per_step(self) -> int:
        return STEP_S // self.interval_s

    def history(self, bad: np.ndarray) -> History:
        keys = tuple(("loss", Path(f"a{n}", "b", "ef")) for n in range(self.paths))
        events = np.full_like(bad, self.per_step)
        return History(keys, START_S, STEP_S, events, bad, np.zeros_like(bad))

    def losses(self, steps: int, ratio: float, rng: np.random.Generator) -> np.ndarray:
        return rng.binomial(self.per_step, ratio, (self.paths, steps)).astype(np.uint32)


def objective(guard: Guard) -> Objective:
    return Objective(
        "loss", "", "", "", Indicator.LOSS, None, TARGET, PathSelector(),
        alerts=AlertPolicy(PAIRS, guard),
    )  # fmt: skip


def asked_for(pair: BurnPair, interval_s: int) -> int:
    """Return how many bad events the default guard asks a long window for."""
    budget = (1 - Fraction(TARGET)) * pair.long_s / interval_s
    return GUARD.least(budget, pair.threshold(PERIOD_S), pair.windows(PERIOD_S))


def alerts(history: History, guard: Guard, from_s: int) -> Sequence[Episode]:
    """Return what would have been told from a moment on, with the windows full before it."""
    span = from_s, history.end_s
    plan = ProbingPlan(STEP_S / int(history.events.max()), 1.0)
    network = Network("bench", "GBP", {}, {}, (), plan)
    return replay(history, objective(guard), network, [(0, TARGET)], span).episodes


def false_alerts(
    estate: Estate, ratio: float, seed: int, period_s: int = PERIOD_S
) -> Iterator[tuple[str, float, float]]:
    """Yield by guard the false pages and tickets of a path."""
    rng = np.random.default_rng(seed)
    bad = estate.losses((WARM_S + period_s) // STEP_S, ratio, rng)
    history = estate.history(bad)
    for name, guard in GUARDS.items():
        found = alerts(history, guard, START_S + WARM_S)
        pages = sum(episode.pair.severity is Severity.PAGE for episode in found)
        yield name, pages / estate.paths, (len(found) - pages) / estate.paths


def detections(
    estate: Estate, background: float, fault: float, seed: int
) -> Iterator[tuple[str, float | None, float]]:
    """Yield by guard the median minutes until a page, and the share of paths that had one.

    The fault lasts a day. None is never.
    """
    rng = np.random.default_rng(seed)
    began = WARM_S // STEP_S
    bad = estate.losses(began + DAY_S // STEP_S, background, rng)
    bad[:, began:] = estate.losses(DAY_S // STEP_S, max(fault, background), rng)
    history = estate.history(bad)
    for name, guard in GUARDS.items():
        first: dict[Path, int] = {}
        for episode in alerts(history, guard, START_S + WARM_S):
            if episode.pair.severity is Severity.PAGE:
                first.setdefault(episode.key[1], episode.start_s - START_S - WARM_S)
        took = [first.get(key[1], np.inf) for key in history.keys]
        median = float(np.median(took))
        yield name, None if np.isinf(median) else median / 60, len(first) / estate.paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--paths", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="one probe a minute only")
    given = parser.parse_args()
    began_s = time.perf_counter()
    for pair in PAIRS[:2]:
        asked = [asked_for(pair, interval_s) for interval_s in INTERVALS_S]
        print(f"{pair.long}: asks for {asked} bad at a probe every {INTERVALS_S} s")
    print(f"{given.paths} paths, {TARGET}, 28 d; false pages and tickets for each path")
    print("probe  lost      guard     pages  tickets | minutes to page at " + ", ".join(FAULTS))
    worst = expected = 0.0
    for interval_s in INTERVALS_S[: 1 if given.quick else None]:
        estate = Estate(given.paths, interval_s)
        for ratio in BACKGROUNDS:
            took: dict[str, list[str]] = {name: [] for name in GUARDS}
            for fault in FAULTS.values():
                for name, minutes, share in detections(estate, ratio, fault, given.seed):
                    text = "never" if minutes is None else f"{minutes:.0f}"
                    took[name].append(text + ("" if share == 1 else f" ({share:.0%})"))
            for name, pages, tickets in false_alerts(estate, ratio, given.seed):
                print(
                    f"{interval_s:>3} s  {ratio:.2%}  {name:<8} {pages:7.3f}  {tickets:7.3f} | "
                    + ", ".join(took[name])
                )
                if name == "netslo" and interval_s == 60:
                    worst = max(worst, pages)
    for pair in PAIRS[:2]:
        mean = BACKGROUNDS[-1] * pair.long_s / INTERVALS_S[0]
        least = asked_for(pair, INTERVALS_S[0])
        expected += mean * PERIOD_S / pair.long_s * chance_of_at_least(least - 1, mean)
    print(
        f"one probe a minute: {worst:.4f} false pages for each path at worst, {expected:.4f} by "
        f"theory, at most {FALSE_PAGES_MAX} wanted; took {time.perf_counter() - began_s:.0f} s"
    )


if __name__ == "__main__":
    main()
