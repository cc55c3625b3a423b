"""The quantile engine beside its peers and beside the limits of the machine, in one run.

Each measurement is a fresh process, five of each piece of work, taking turns. Inside one, every
engine runs once per round, in an order that changes; the process's figure is the median of its
rounds, and a goal is judged by the median over the processes of the ratio inside each. Slow peers
get fewer values, as the table says; all times are per value. Peers run on one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from support.engine import timing
from support.engine.timing import Work

PROCESSES = 5
Runs = dict[str, list[dict[str, Any]]]  # by measurement, what each process found
PEERS = (
    *("numpy", "numba", "datasketches", "ddsketch", "fastdigest", "crick", "hdrhistogram"),
    *("opentelemetry-sdk", "prometheus-client", "polars", "duckdb", "pandas"),
)
_MEASUREMENTS = (
    *("array", "numpy", "keyed", "keyed-few", "keyed-many", "merge", "quantiles"),
    *("convolution", "window", "threads", "accuracy"),
)


def work_called(name: str) -> Work[Any] | None:
    """Return one piece of timed work; None for `threads` and `accuracy`, which differ."""
    # Late: a process loads what it measures, and nothing else.
    if name in {"array", "numpy"}:
        from support.engine import array

        return array.ARRAY if name == "array" else array.WITHOUT_NUMBA
    if name.startswith("keyed"):
        from support.engine import keyed

        works = {"keyed": keyed.KEYED, "keyed-few": keyed.KEYED_FEW, "keyed-many": keyed.KEYED_MANY}
        return works[name]
    if name in {"merge", "quantiles"}:
        from support.engine import merging

        return merging.MERGE if name == "merge" else merging.QUANTILES
    if name == "convolution":
        from support.engine.convolution import CONVOLUTION

        return CONVOLUTION
    if name == "window":
        from support.engine.window import WINDOW

        return WINDOW
    return None


def measure(name: str, *, quick: bool, seed: int) -> dict[str, Any]:
    """Measure in this process."""
    work = work_called(name)
    if work is not None:
        return timing.measure(work, quick=quick, seed=seed)
    if name == "threads":
        from support.engine import threads

        return threads.measure(quick=quick, seed=seed)
    from support.engine import accuracy

    return accuracy.measure(quick=quick, seed=seed)


def in_a_process(name: str, *, quick: bool, seed: int) -> dict[str, Any]:
    """Measure in a fresh process."""
    work = work_called(name)
    environment = os.environ | (work.environment if work else {})
    command = [sys.executable, __file__, "--only", name, "--child", str(seed)]
    command += ["--quick"] if quick else []
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def run_all(
    names: Iterable[str], *, quick: bool, processes: int
) -> dict[str, list[dict[str, Any]]]:
    """Measure everything, taking turns; accuracy once, since time does not change it."""
    found: Runs = {name: [] for name in names}
    for turn in range(processes):
        for name, runs in found.items():
            if turn == 0 or name != "accuracy":
                _say(f"process {turn + 1}: {name}")
                runs.append(in_a_process(name, quick=quick, seed=turn + 1))
    _say("")
    return found


def _say(what: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{what}")
        sys.stderr.flush()


def tables(found: Runs) -> dict[str, tuple[dict[str, Any], list[str]]]:
    """Return the figures and the table of each measurement."""
    from support.engine import summary

    result = {}
    for name, runs in found.items():
        work = work_called(name)
        show: Callable[[dict[str, Any]], Iterable[str]]
        if work is not None:
            figures, show = summary.combined(work, runs), summary.timed
        elif name == "threads":
            figures, show = summary.two_threads(runs), summary.of_threads
        else:
            figures, show = runs[0], summary.of_accuracy
        result[name] = figures, list(show(figures))
    return result


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    versions = {}
    for package in PEERS:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    cpu = pathlib.Path("/proc/cpuinfo")
    models = [
        line.partition(":")[2].strip()
        for line in (cpu.read_text().splitlines() if cpu.exists() else [])
        if line.startswith("model name")
    ]
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "versions": versions,
    }


def main() -> None:
    from support.engine import summary

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one process each, fewer values")
    parser.add_argument("--processes", type=int, help=f"of each measurement; {PROCESSES}")
    parser.add_argument("--only", help=f"some of {','.join(_MEASUREMENTS)}")
    parser.add_argument("--json", type=pathlib.Path, help="write the figures to this file")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = options.only.split(",") if options.only else list(_MEASUREMENTS)
    unknown = [name for name in names if name not in _MEASUREMENTS]
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}, only {', '.join(_MEASUREMENTS)}")
    if options.child is not None:
        print(json.dumps(measure(names[0], quick=options.quick, seed=options.child)))
        return
    processes = options.processes or (1 if options.quick else PROCESSES)
    began = time.perf_counter()
    results = tables(run_all(names, quick=options.quick, processes=processes))
    about = machine()
    print(f"{about['cpu']}, {about['cores']} cores, {about['system']}, Python {about['python']}")
    print(", ".join(f"{name} {number}" for name, number in about["versions"].items() if number))
    counted = "1 process" if processes == 1 else f"{processes} processes"
    print(f"{counted} of each measurement" + ", fewer values" * options.quick)
    if options.quick or processes < PROCESSES:
        print(f"Goals want {PROCESSES} processes and all values: these verdicts are provisional.")
    for _, lines in results.values():
        print("", *lines, sep="\n")
    goals = summary.goals({name: figures for name, (figures, _) in results.items()})
    print("", *summary.of_goals(goals), sep="\n")
    print(f"\n{time.perf_counter() - began:.0f} s")
    if options.json:
        whole = {"machine": about, "quick": options.quick, "processes": processes}
        whole |= {name: figures for name, (figures, _) in results.items()}
        whole["goals"] = goals
        lines = [f" {json.dumps(name)}: {json.dumps(figures)}" for name, figures in whole.items()]
        options.json.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
