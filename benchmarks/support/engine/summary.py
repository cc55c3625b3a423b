"""From what the processes measured to tables: medians, ratios, goals met or not."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

from support.engine import accuracy, threads
from support.engine.timing import OURS, Goal, Work

Figures = dict[str, Any]

_GOAL = ("measurement", "against", "goal", "measured", "met")


def combined(work: Work[Any], runs: list[Figures]) -> Figures:
    """Return one row per engine: the medians over the processes of its time and of its ratio."""
    goals = {goal.engine: goal for goal in work.goals}
    rows = [
        _row(engine, [run["rows"] for run in runs], goals.get(engine)) for engine in runs[0]["rows"]
    ]
    left_out = dict(runs[0]["left_out"])
    reached = {row["engine"] for row in rows} | left_out.keys()
    left_out |= {engine: "not measured" for engine in goals if engine not in reached}
    return {
        "title": runs[0]["title"],
        "counted": work.items,
        "rows": sorted(rows, key=lambda row: row["ns"]),
        "left_out": left_out,
        "timings": sum(run["timings"] for run in runs),
        "disturbed": sum(run["disturbed"] for run in runs),
    }


def _row(engine: str, runs: list[Figures], goal: Goal | None) -> Figures:
    times = [run[engine]["ns"] for run in runs]
    row = {
        "engine": engine,
        "items": runs[0][engine]["items"],
        "limit": runs[0][engine]["limit"],
        "ns": statistics.median(times),
        "ns_range": [min(times), max(times)],
        "ratio": None,
        "goal": None if goal is None else str(goal),
        "met": None,
    }
    if OURS in runs[0] and engine != OURS:
        # Of each process by itself: its memory lies as it lies for both sides.
        row["ratio"] = statistics.median(run[engine]["ns"] / run[OURS]["ns"] for run in runs)
        if goal is not None:
            row["met"] = goal.met(1.0, row["ratio"])
    return row


def goals(results: dict[str, Figures]) -> list[Figures]:
    """Return what all measurements together say of the goals, each judged from the same run."""
    found = []
    for name, figures in results.items():
        if name == "accuracy":
            for what, worst, bound, holds in accuracy.verdicts(figures):
                goal = f"<= {100 * bound:.3g} %"
                said = f"{100 * worst:.3g} %"
                found.append(dict(zip(_GOAL, (name, what, goal, said, holds), strict=True)))
            continue
        for row in figures["rows"]:
            if row["goal"] is None:
                continue
            against = row["work"] if name == "threads" else row["engine"]
            ratio = row["ratio"]
            times = ratio if ratio is None or row["goal"].startswith(">") else 1 / ratio
            said = None if times is None else f"{times:.3g} x" if times < 100 else f"{times:,.0f} x"
            judged = (name, against, row["goal"], said, row["met"])
            found.append(dict(zip(_GOAL, judged, strict=True)))
    return found


def of_goals(found: list[Figures]) -> Iterator[str]:
    """Yield the lines of the table of goals."""
    yield "goals, all judged from this run"
    for row in found:
        verdict = "not judged" if row["met"] is None else _said(row["met"])
        what = f"{row['measurement']}: {row['against']}"
        yield f"  {what:52} {row['measured'] or '-':>10}   {row['goal']:10} {verdict}"


def timed(figures: Figures) -> Iterator[str]:
    """Yield the lines of the table of one piece of work."""
    yield figures["title"]
    width = max([34, *(len(row["engine"]) for row in figures["rows"])])
    head = f"  {'':{width}} {figures['counted']:>13} {'ns each':>12} {'range':>19}"
    yield f"{head}   {'against netslo':16} goal"
    for row in figures["rows"]:
        low, high = row["ns_range"]
        between = f"{_ns(low)} - {_ns(high)}"
        line = f"  {row['engine']:{width}} {row['items']:13,} {_ns(row['ns']):>12} {between:>19}"
        yield f"{line}   {_against(row):16} {_judged(row)}".rstrip()
    for engine, why in figures["left_out"].items():
        yield f"  {engine}: left out, {why}"
    if figures["disturbed"]:
        yield f"  {figures['disturbed']} of {figures['timings']} timings lost the core for a while"


def _ns(ns: float) -> str:
    return f"{ns:,.0f}" if ns >= 1000 else f"{ns:.4g}" if ns >= 100 else f"{ns:.3g}"


def _against(row: Figures) -> str:
    if row["ratio"] is None:
        return ""
    if row["limit"]:
        return f"netslo x {1 / row['ratio']:.2f}"
    return f"{row['ratio']:,.1f} x" if row["ratio"] < 1000 else f"{row['ratio']:,.0f} x"


def _judged(row: Figures) -> str:
    if row["goal"] is None:
        return ""
    return f"{row['goal']:8} " + ("not judged" if row["met"] is None else _said(row["met"]))


def _said(met: bool) -> str:  # noqa: FBT001
    return "met" if met else "MISSED"


def two_threads(runs: list[Figures]) -> Figures:
    """Return the median gain over the processes in which two cores were really there."""
    rows = []
    for name in runs[0]["rows"]:
        found = [run["rows"][name] for run in runs]
        ratios = [one["ratio"] for one in found if one["ratio"] is not None]
        ratio = statistics.median(ratios) if ratios else None
        judged = ratio is not None and not name.startswith("limit")
        rows.append(
            {
                "work": name,
                "processes": len(ratios),
                "rounds": sum(one["rounds"] for one in found),
                "ratio": ratio,
                "goal": None if name.startswith("limit") else f">= {threads.GOAL}",
                "met": ratio >= threads.GOAL if judged and ratio is not None else None,
            }
        )
    tried = sum(run["tried"] for run in runs)
    return {"rows": rows, "tried": tried, "cores": runs[0]["cores"], "of_processes": len(runs)}


def of_threads(figures: Figures) -> Iterator[str]:
    """Yield the lines of the table of two threads against one."""
    yield "two threads against one, by the wall clock"
    for row in figures["rows"]:
        if row["ratio"] is None:
            why = f"two cores were free together in {row['rounds']} rounds only"
            yield f"  {row['work']:34} not judged: {why}"
            continue
        goal = "" if row["goal"] is None else f"{row['goal']:8} {_said(row['met'])}"
        rounds = f"{row['rounds']} undisturbed rounds, {row['processes']} processes"
        yield f"  {row['work']:34} {row['ratio']:6.2f} x   {goal:18} {rounds}".rstrip()


def of_accuracy(figures: Figures) -> Iterator[str]:
    """Yield the lines of the table of worst errors."""
    shapes = list(next(iter(figures["errors"].values())))
    yield f"worst relative error of p50 to p99.99, {figures['count']:,} values, in per cent"
    yield f"  {'':34} " + " ".join(f"{shape:>12}" for shape in shapes)
    for engine, by_shape in figures["errors"].items():
        worst = " ".join(f"{100 * max(by_shape[shape]):12.3g}" for shape in shapes)
        yield f"  {engine:34} {worst}"
    for engine, why in figures["left_out"].items():
        yield f"  {engine}: left out, {why}"
    for what, worst, bound, holds in accuracy.verdicts(figures):
        numbers = f"worst {100 * worst:.4f} %, bound {100 * bound:.4f} %"
        yield f"  {what:34} {numbers}   {_said(holds)}"
    if figures["convolution"] is None:
        yield "  netslo, convolution: left out, analytics.convolution is not installed"
