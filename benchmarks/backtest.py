"""90 days of 10,000 paths judged again: the alerts and the budgets of another objective."""

from __future__ import annotations

import resource
import time
from dataclasses import replace
from fractions import Fraction

import numpy as np
from support.objective import loss_objective

from netslo.estate import Estate, ProbingPlan
from netslo.model import Path, Scope
from slo.backtest.history import History
from slo.backtest.replay import THREADS, replay

DAYS, PATHS, STEP_S = 90, 10_000, 300
BLOCK = 1_000  # paths in memory at once
PER_STEP = 30  # one packet in 10 s
BACKGROUND = 0.0002  # a fifth of the budget of 99.9 %
INCIDENT = 0.2
OBJECTIVE = loss_objective([Scope.NATIONAL])


def main() -> None:
    rng = np.random.default_rng(1)
    steps = DAYS * 86_400 // STEP_S
    network = Estate("bench", "GBP", {}, {}, (), ProbingPlan(STEP_S / PER_STEP, 1.0))
    cpu_s = dict.fromkeys(("0.999", "0.9995"), 0.0)
    taken_s = {"0.999": 0.0, "0.9995": 0.0}
    alerts = dict.fromkeys(taken_s, 0)
    events = 0
    for low in range(0, PATHS, BLOCK):
        history = _history(rng, low, steps)
        events += int(history.events.sum())
        for target in taken_s:
            objective = replace(OBJECTIVE, target_text=target)
            began, began_cpu = time.perf_counter(), time.process_time()
            span = history.start_s, history.end_s
            found = replay(history, objective, network, [(0, target)], span)
            taken_s[target] += time.perf_counter() - began
            cpu_s[target] += time.process_time() - began_cpu
            alerts[target] += len(found.episodes)
    print(f"{DAYS} days x {PATHS:,} paths, {steps:,} steps each, {events:,} events, "
          f"{len(OBJECTIVE.alerts.pairs)} pairs, {THREADS} threads")  # fmt: skip
    for target, seconds in taken_s.items():
        print(
            f"  target {float(Fraction(target)):.2%}: {seconds:6.2f} s, "
            f"{events / seconds / 1e9:.2f} billion events/s, {cpu_s[target]:.2f} CPU-s, "
            f"{alerts[target]:,} alerts"
        )
    print(f"  one after the other: {sum(taken_s.values()):.2f} s")
    print(f"  memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB at most")


def _history(rng: np.random.Generator, low: int, steps: int) -> History:
    """Return paths with loss all the time, and an incident of two hours on one in ten."""
    keys = tuple(
        ("loss", Path(f"s{n // 100}", f"d{n % 100}", "be")) for n in range(low, low + BLOCK)
    )
    bad = rng.binomial(PER_STEP, BACKGROUND, (BLOCK, steps)).astype(np.uint32)
    for row in range(0, BLOCK, 10):
        at = int(rng.integers(0, steps - 24))
        bad[row, at : at + 24] = rng.binomial(PER_STEP, INCIDENT, 24)
    due = np.full((BLOCK, steps), PER_STEP, dtype=np.uint32)
    return History(keys, 0, STEP_S, due, bad, np.zeros_like(bad))


main()
