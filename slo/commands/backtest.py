"""`netslo slo backtest`: what budgets and alerts would have been."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from netslo.config.options import config_option, file_option, json_option
from slo.commands.shared import (
    PIPE_WIDTH,
    check_paths,
    load,
    load_log,
    open_store,
    path_option,
    print_json,
    read_span,
    select,
    span_options,
    store_option,
)

if TYPE_CHECKING:
    from netslo.estate import Estate
    from slo.backtest.changes import Change
    from slo.exclusion import Exclusion
    from slo.objective import Objective


@click.command()
@config_option
@store_option
@click.option("--slo", "name", required=True, metavar="NAME", help="Which SLO.")
@path_option
@span_options
@click.option("--target", metavar="RATIO", help="Another target, such as 99.95%.")
@click.option("--threshold", metavar="TIME", help="Another threshold, such as 80ms.")
@click.option(
    "--pair",
    "pairs",
    multiple=True,
    metavar="PAIR",
    help="Alert on this instead, as page:1h/5m:14.4 or 'page 2% 1h 5m'; repeatable.",
)
@click.option("--missing-data", metavar="POLICY", help="Take missing data as ignore, bad or good.")
@file_option("--spec", "spec_file", "An OpenSLO document with the SLO as it might be.")
@click.option("--with-excluded", is_flag=True, help="As if no time had been excluded.")
@click.option("--all", "everything", is_flag=True, help="Show every path and alert.")
@json_option
def backtest(
    config_dir: pathlib.Path,
    store_file: pathlib.Path | None,
    name: str,
    paths: tuple[str, ...],
    start: str | None,
    end: str | None,
    target: str | None,
    threshold: str | None,
    pairs: tuple[str, ...],
    missing_data: str | None,
    spec_file: pathlib.Path | None,
    *,
    with_excluded: bool,
    everything: bool,
    as_json: bool,
) -> None:
    """Judge what is in the store again: by another target, threshold, pair or document.

    Prints budgets and the alerts that would have fired, as the SLO is and as it might be; without
    a change, what the SLO as it is would have said. Times of alerts are to the step of judging,
    5 min. A threshold at which no probe counted gives bounds.

    Exit status: 0 said, 2 configuration.
    """
    import time

    from rich.console import Console

    from slo.backtest.backtest import Question, run
    from slo.backtest.changes import Change, surprises
    from slo.backtest.report import report, to_json

    estate, specification = load(config_dir)
    (objective,) = select(specification, [name])
    check_paths(paths, estate)
    change = Change(target, threshold, pairs, missing_data)
    changed = _changed(objective, change, spec_file, config_dir, estate)
    span = read_span(start, end, [objective, *([changed] if changed else [])], time.time())
    covered = [path for path in objective.paths(estate) if not paths or path.id in paths]
    if not covered:
        click.echo("No objective covers these paths.")
        return
    logged = load_log(config_dir, store_file)
    exclusions, others = (
        () if with_excluded else (*logged, *_excluded_by(each, name))
        for each in (objective, changed or objective)
    )
    with open_store(config_dir, store_file) as store:
        question = Question(
            objective,
            changed,
            estate,
            covered,
            *span,
            store.targets().get(name) or [(0, objective.target_text)],
            exclusions,
            [o for o in specification.objectives if set(covered) <= set(o.paths(estate))],
            others,
        )
        with _progress(len(covered) * question.outcomes) as on_rows:
            found = run(store, question, on_rows)
    warnings = [] if changed is None else surprises(objective, changed, estate)
    if as_json:
        print_json(to_json(found, warnings))
        return
    console = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False)
    console.print(report(found, warnings, everything=everything))


def _excluded_by(objective: Objective, name: str) -> list[Exclusion]:
    """Return the exclusions of a document, as if it were the SLO of this name."""
    from dataclasses import replace

    return [
        replace(each, covers=replace(each.covers, slos=frozenset({name})))
        for each in objective.exclusions
    ]


def _changed(
    objective: Objective,
    change: Change,
    spec_file: pathlib.Path | None,
    config_dir: pathlib.Path,
    estate: Estate,
) -> Objective | None:
    """Return the objective as it might be; None where nothing is said of that."""
    from netslo.errors import ConfigurationError
    from slo.backtest.changes import changed, expect_comparable

    if not change and spec_file is None:
        return None
    found = objective
    if spec_file is not None:
        found = _read_document(spec_file, objective.name, config_dir, estate)
    found = changed(found, change, estate.plan.timeout_s)
    problem = expect_comparable(objective, found)
    if problem is not None:
        option = "--threshold" if spec_file is None else f"--spec {spec_file}"
        raise ConfigurationError(f"{option}: {problem}")
    return found


def _read_document(
    file: pathlib.Path, name: str, config_dir: pathlib.Path, estate: Estate
) -> Objective:
    """Read the one SLO of a file, or that of a name; what it refers to is in the configuration."""
    from netslo.errors import ConfigurationError
    from slo.spec import load_changed

    found = load_changed(config_dir, file, estate)
    named = [objective for objective in found if objective.name == name]
    if len(found) != 1 and not named:
        names = ", ".join(objective.name for objective in found) or "no SLO"
        raise ConfigurationError(f"--spec {file}: must have one SLO, or {name}; it has {names}")
    return (named or list(found))[0]


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """Show how far it has come, to a person at a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("judging", total=total)
        yield lambda rows: progress.advance(task, rows)
