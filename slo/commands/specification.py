"""`netslo slo check | explain | export | import`: what is promised, and what it means."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from netslo.config.options import config_option, file_option, json_option
from slo.commands.shared import (
    PIPE_WIDTH,
    check_paths,
    load,
    load_log,
    open_store,
    print_json,
    refuse_all,
    select,
    slo_count,
    store_option,
)

if TYPE_CHECKING:
    from netslo.estate import Estate
    from slo.imports.foreign import Imported, Notes
    from slo.objective import Objective


def specification_commands() -> Sequence[click.Command]:
    """Return the commands of this module."""
    return (check, explain, export, import_)


@click.command()
@config_option
@store_option
@json_option
def check(config_dir: pathlib.Path, store_file: pathlib.Path | None, *, as_json: bool) -> None:
    """Check every SLO document, and say what it promises.

    Beside what is wrong in the documents: alerts that can never fire or rest on one packet at
    the probing plan of the estate.

    Exit status: 0 all valid, 2 with every problem of every file; --json lists them.
    """
    from dataclasses import asdict

    from netslo.errors import ConfigurationError
    from slo.explain import promise

    try:
        estate, objectives, notes = _check(config_dir, store_file)
    except ConfigurationError as error:
        if not as_json:
            raise
        print_json({"problems": [asdict(problem) for problem in error.problems]})
        raise click.exceptions.Exit(error.exit_code) from error
    if as_json:
        found = [_describe(objective, estate) for objective in objectives]
        print_json({"problems": [], "slos": found, "notes": notes})
        return
    for objective in objectives:
        click.echo(f"{objective.name}: {promise(objective, estate)}")
    for note in notes:
        click.echo(f"note: {note}")
    click.echo(f"{slo_count(objectives)} ok")


def _check(
    config_dir: pathlib.Path, store_file: pathlib.Path | None
) -> tuple[Estate, tuple[Objective, ...], list[str]]:
    """Return what was found to be good, and what of it may surprise."""
    from netslo.config.estate_file import load_estate
    from netslo.errors import ConfigurationError
    from slo.feasibility import check_feasible, warn
    from slo.rules.layout import too_many_pairs
    from slo.spec import Specification, load_specification

    estate = load_estate(config_dir)
    faults: list[ConfigurationError] = []
    specification = Specification(())
    try:
        specification = load_specification(
            config_dir,
            estate,
            lambda objective, place: check_feasible(objective, estate, place),
        )
    except ConfigurationError as error:
        faults.append(error)
    try:
        load_log(config_dir, store_file)
    except ConfigurationError as error:
        faults.append(error)
    refuse_all(faults)
    objectives = specification.objectives
    notes = [note for objective in objectives for note in warn(objective, estate)]
    if too_many := too_many_pairs(objectives):
        notes.append(
            f"{too_many}; `slo rules` refuses them until then, the collector judges them all"
        )
    return estate, objectives, [*specification.notes, *notes]


@click.command()
@click.argument("name", required=False, metavar="[SLO]")
@config_option
@click.option("--path", "path_id", metavar="ID", help="How the budget of this path came about.")
@store_option
@json_option
def explain(
    name: str | None,
    config_dir: pathlib.Path,
    path_id: str | None,
    store_file: pathlib.Path | None,
    *,
    as_json: bool,
) -> None:
    """Say what SLOs mean: windows, thresholds, detection times, budgets, probe rates.

    With --path, put the numbers of the store in: how was this budget computed?

    Exit status: 0 said, 2 configuration.
    """
    from rich.console import Console

    from slo.explain import explain_lines, to_json
    from slo.explain_table import pairs_table
    from slo.feasibility import warn

    estate, specification = load(config_dir)
    objectives = select(specification, [name] if name else [], "SLO")
    if path_id is not None:
        _explain_path(objectives, path_id, estate, config_dir, store_file, as_json=as_json)
        return
    if as_json:
        print_json({"slos": [to_json(objective, estate) for objective in objectives]})
        return
    console = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False)
    for objective in objectives:
        console.print("\n".join(explain_lines(objective, estate)), markup=False, soft_wrap=True)
        if objective.alerts.pairs:
            console.print(pairs_table(objective, estate))
        for text in warn(objective, estate):
            console.print(f"  warning: {text}", markup=False, soft_wrap=True)
        console.print()
    if not objectives:
        click.echo("\n".join(specification.notes))


def _explain_path(
    objectives: Sequence[Objective],
    path_id: str,
    estate: Estate,
    config_dir: pathlib.Path,
    store_file: pathlib.Path | None,
    *,
    as_json: bool,
) -> None:
    import time

    from netslo.model import Path
    from slo.account import account, account_json, account_lines

    check_paths([path_id], estate)
    path = Path.parse(path_id)
    covering = [objective for objective in objectives if objective.covers(path, estate)]
    logged = load_log(config_dir, store_file)
    with open_store(config_dir, store_file) as store:
        now_s = time.time()
        found = [
            (o, account(store, o, path, estate, now_s, (*o.exclusions, *logged))) for o in covering
        ]
    if as_json:
        print_json({"slos": [account_json(each) for _, each in found]})
        return
    for objective, each in found:
        click.echo("\n".join(account_lines(each, objective, estate)) + "\n")
    if not found:
        click.echo(f"No objective covers {path_id}.")


@click.command()
@click.argument(
    "files",
    nargs=-1,
    metavar="[FILE]...",
    type=click.Path(path_type=pathlib.Path, dir_okay=False),
)
@config_option
@click.option(
    "--inline", is_flag=True, help="Make each SLO a document by itself, with all that it means."
)
def export(files: tuple[pathlib.Path, ...], config_dir: pathlib.Path, *, inline: bool) -> None:
    """Write the OpenSLO v1 documents of DIR/slos, or of FILEs, in one form to standard output.

    FILEs may hold any OpenSLO v1 documents, also such that netslo cannot measure.

    Exit status: 0 written, 2 with every problem of every file.
    """
    from netslo.errors import ConfigurationError
    from slo.export import as_written, document_of, to_yaml
    from slo.spec import load_openslo

    if files and inline:
        raise ConfigurationError("--inline: is for the documents of a configuration, not for FILEs")
    if files:
        documents = [as_written(document) for document in load_openslo(files)]
    else:
        _, specification = load(config_dir)
        documents = (
            [document_of(objective) for objective in specification.objectives]
            if inline
            else [as_written(document) for document in specification.documents]
        )
    click.echo(to_yaml(documents), nl=False)


@click.command("import")
@click.argument("tool", type=click.Choice(["sloth", "pyrra"]))
@click.argument("file", type=click.Path(path_type=pathlib.Path, dir_okay=False))
@click.option(
    "--indicator", metavar="SLI", help="Measure by this SLI of yours, and leave the queries out."
)
@click.option("--period", metavar="TIME", help="Of sloth's budgets.  [default: 30d]")
@file_option("--windows", "windows_file", "sloth's alert windows, with a period of their own.")
def import_(
    tool: str,
    file: pathlib.Path,
    indicator: str | None,
    period: str | None,
    windows_file: pathlib.Path | None,
) -> None:
    """Write the objectives of a sloth or pyrra FILE as OpenSLO v1, with equal burn rates.

    Documents go to standard output, what has no counterpart to standard error.

    Exit status: 0 written, 2 with every problem of the file.
    """
    from slo.export import to_yaml

    imported, notes = _import_from(tool, file, period, windows_file)
    click.echo(to_yaml([each.document(indicator) for each in imported]), nl=False)
    lines = list(notes.lines)
    if imported and indicator is None:
        lines.append(
            f"{file}: indicators are PromQL, which netslo keeps and does not measure: "
            "name an SLI of yours with --indicator, or replace spec.indicator"
        )
    for line in lines:
        click.echo(f"note: {line}", err=True)


def _import_from(
    tool: str, file: pathlib.Path, period: str | None, windows_file: pathlib.Path | None
) -> tuple[tuple[Imported, ...], Notes]:
    """Read a foreign file.

    Raises:
        ConfigurationError: with every fault of the options and of all files.
    """
    from netslo.errors import ConfigurationError
    from slo.imports.foreign import Notes
    from slo.imports.pyrra import import_pyrra
    from slo.imports.sloth import import_sloth

    faults: list[ConfigurationError] = []
    windows: tuple[Any, ...] = ()
    found: tuple[tuple[Imported, ...], Notes] = (), Notes()
    try:
        windows = _read_windows(tool, period, windows_file)
    except ConfigurationError as error:
        faults.append(error)
    try:
        found = import_pyrra(file) if tool == "pyrra" else import_sloth(file, *windows)
    except ConfigurationError as error:
        faults.append(error)
    refuse_all(faults)
    return found


def _read_windows(
    tool: str, period: str | None, windows_file: pathlib.Path | None
) -> tuple[Any, ...]:
    """Return what of the period in seconds and the pairs of all sloth's objectives is given."""
    from netslo.errors import ConfigurationError
    from netslo.units import parse_duration
    from slo.imports.sloth import read_windows

    if tool != "sloth" and (period is not None or windows_file is not None):
        option = "--windows" if period is None else "--period"
        raise ConfigurationError(f"{option}: is for sloth; {tool} has its period in the file")
    if windows_file is None:
        try:
            return () if period is None else (int(parse_duration(period)),)
        except ValueError as error:
            raise ConfigurationError(f"--period {period}: {error}") from error
    if period is not None:
        raise ConfigurationError(f"--period {period}: the period is in the file of --windows")
    return read_windows(windows_file)


def _describe(objective: Objective, estate: Estate) -> dict[str, Any]:
    from netslo.units import format_duration

    slices = objective.slices
    return {
        "slo": objective.name,
        "service": objective.service,
        "indicator": objective.indicator.value,
        "objective": float(objective.target),
        "threshold": objective.limit_s,
        "rate": objective.rate,
        "slice": None if slices is None else format_duration(slices.length_s),
        "period": format_duration(objective.window_s),
        "owner": objective.owner,
        "runbook": objective.runbook,
        "paths": [path.id for path in objective.paths(estate)],
    }
