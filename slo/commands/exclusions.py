"""`netslo slo exclude`: times that do not count, on record with who and why."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from netslo.config.options import config_option, json_option
from netslo.user import user_name
from slo.commands.shared import check_paths, load, log_of, print_json, select, store_option

if TYPE_CHECKING:
    from netslo.estate import Estate
    from slo.exclusion import Exclusion
    from slo.exclusion_log import Revocation
    from slo.spec import Specification

T = TypeVar("T")


@click.command()
@config_option
@store_option
@click.option("--from", "start", metavar="TIME", help="When it begins, as 2026-12-01T01:00:00Z.")
@click.option("--to", "end", metavar="TIME", help="When it ends.")
@click.option("--reason", help="Why, such as the number of a change.")
@click.option(
    "--author", envvar="NETSLO_AUTHOR", default=user_name, show_default="you", help="Who."
)
@click.option("--slo", "slos", multiple=True, metavar="NAME", help="Only this SLO; repeatable.")
@click.option("--path", "paths", multiple=True, metavar="ID", help="Only this path; repeatable.")
@click.option(
    "--site", "sites", multiple=True, metavar="NAME", help="Only paths of this site; repeatable."
)
@click.option("--revoke", metavar="ID", help="Take an exclusion back instead.")
@click.option("--list", "listing", is_flag=True, help="List all exclusions instead.")
@json_option
def exclude(
    config_dir: pathlib.Path,
    store_file: pathlib.Path | None,
    start: str | None,
    end: str | None,
    reason: str | None,
    author: str | None,
    slos: tuple[str, ...],
    paths: tuple[str, ...],
    sites: tuple[str, ...],
    revoke: str | None,
    *,
    listing: bool,
    as_json: bool,
) -> None:
    """Take a time out of error budgets: maintenance, planned or declared afterwards.

    Times are widened to whole five minutes. What is declared before it begins is never counted;
    what is declared later is taken out of burn rates, budgets and reports, while Prometheus'
    own windows keep what came before the next five minutes. Nothing is ever deleted: the log
    beside the store only grows.
    """
    import time
    from dataclasses import replace

    from netslo.errors import ConfigurationError
    from slo.exclusion_log import Revocation, append_to_log, only_author, read_log

    estate, specification = load(config_dir)
    file = log_of(config_dir, store_file)
    if listing:
        _print_list(file, as_json=as_json)
        return
    missing = [
        option
        for option, value in (
            ("--reason", reason),
            ("--author", author),
            *(() if revoke is not None else (("--from", start), ("--to", end))),
        )
        if not value
    ]
    if missing:
        raise click.UsageError(f"missing {', '.join(missing)}")
    now_s = int(time.time())
    if revoke is not None:
        if start or end or slos or paths or sites:
            raise click.UsageError("--revoke takes back all of it: no times, SLOs, paths or sites")
        entry: Exclusion | Revocation = Revocation(revoke, str(author), str(reason), now_s)
        if revoke not in {each.id for each in _in_force(file)}:
            raise ConfigurationError(f"--revoke {revoke}: no exclusion in force has this id")
    else:
        who = str(author), str(reason), now_s
        entry = _read(start, end, who, (slos, paths, sites), (estate, specification))
    with only_author(file):
        if not isinstance(entry, Revocation):
            entry = replace(entry, id=f"x{1 + len(read_log(file))}-{now_s}")
        append_to_log(file, entry)
    _say(entry, now_s, store_file, as_json=as_json)


def _read(
    start: str | None,
    end: str | None,
    who: tuple[str, str, int],  # author, reason, when
    named: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]],  # SLOs, paths, sites
    among: tuple[Estate, Specification],
) -> Exclusion:
    """Return the exclusion that options say; it has an id when it is written.

    Raises:
        ConfigurationError: with all that is wrong.
    """
    from slo.exclusion import STEP_S

    estate, specification = among
    slos, paths, sites = named
    faults = _Faults()
    faults.of(lambda: select(specification, slos))
    faults.of(lambda: check_paths(paths, estate))
    faults.of(lambda: _check_sites(sites, estate))
    span = faults.of(lambda: _time("--from", start)), faults.of(lambda: _time("--to", end))
    known = not faults.found
    made = faults.of(
        lambda: _exclusion(
            # Without times that are understood, the rest is looked at all the same.
            span=(0, STEP_S) if span[0] is None or span[1] is None else (span[0], span[1]),
            who=who,
            covers=named if known else ((), (), ()),
        )
    )
    if made is not None and known:
        faults.of(lambda: _check_matter(made, specification, estate))
    faults.raise_all()
    assert made is not None
    return made


def _say(
    entry: Exclusion | Revocation, now_s: int, store_file: pathlib.Path | None, *, as_json: bool
) -> None:
    """Say what was written, and what it does not do."""
    from slo.exclusion_log import Revocation, format_time, to_json

    if as_json:
        print_json(to_json(entry))
    elif isinstance(entry, Revocation):
        click.echo(f"{entry.revokes} is taken back; what it left out counts again")
    else:
        click.echo(_line(entry, now_s))
    if store_file is not None and not store_file.exists():
        click.echo(
            f"note: there is no {store_file}: a collector with another store does not see this",
            err=True,
        )
    if not isinstance(entry, Revocation) and entry.counted_until_s > entry.start_s:
        click.echo(
            "note: the windows of Prometheus' rules keep the raw history up to "
            f"{format_time(entry.counted_until_s)}, for counters never go back; "
            "burn rates, budgets and reports of the collector leave it out",
            err=True,
        )


class _Faults:
    """Collects what is wrong with options, so that all of it is said at once."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def of(self, attempt: Callable[[], T]) -> T | None:
        """Return what an attempt returns; None once what is wrong with it is noted."""
        from netslo.errors import ConfigurationError

        try:
            return attempt()
        except ConfigurationError as error:
            self.found.append(str(error))
            return None

    def raise_all(self) -> None:
        from netslo.errors import ConfigurationError

        if self.found:
            raise ConfigurationError("\n".join(self.found))


def _check_sites(sites: tuple[str, ...], estate: Estate) -> None:
    from netslo.errors import ConfigurationError

    expected = f"must be one of {', '.join(estate.sites)}"
    if strange := [f"--site {site}: {expected}" for site in sites if site not in estate.sites]:
        raise ConfigurationError("\n".join(strange))


def _check_matter(made: Exclusion, specification: Specification, estate: Estate) -> None:
    """See that an exclusion is about anything: what is named must match all together."""
    from netslo.errors import ConfigurationError

    covers = made.covers
    named = covers.slos or covers.paths or covers.sites
    keys = ((o.name, path) for o in specification.objectives for path in o.paths(estate))
    if named and not any(made.excludes(key) for key in keys):
        raise ConfigurationError("exclusion: no SLO has a path that is of all that is named")


def _in_force(file: pathlib.Path) -> tuple[Exclusion, ...]:
    from slo.exclusion_log import load_exclusions

    return load_exclusions(file)


def _time(option: str, text: str | None) -> int:
    from netslo.errors import ConfigurationError
    from slo.exclusion import TIME_MAX_S
    from slo.exclusion_log import format_time, parse_time

    try:
        unix_s = parse_time(text or "")
    except ValueError as error:
        raise ConfigurationError(
            f"{option} {text}: must be a time with its offset, such as 2026-12-01T01:00:00Z"
        ) from error
    if not 0 <= unix_s <= TIME_MAX_S:
        between = f"from {format_time(0)} to {format_time(TIME_MAX_S)}"
        raise ConfigurationError(f"{option} {text}: must be {between}")
    return unix_s


def _exclusion(
    *,
    span: tuple[int, int],
    who: tuple[str, str, int],
    covers: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]],
) -> Exclusion:
    from netslo.errors import ConfigurationError
    from netslo.model import Path
    from slo.exclusion import STEP_S, Covers, Exclusion

    author, reason, now_s = who
    slos, paths, sites = covers
    try:
        return Exclusion(
            id="x",
            start_s=span[0] // STEP_S * STEP_S,
            end_s=-(-span[1] // STEP_S) * STEP_S,
            author=author,
            reason=reason,
            declared_s=now_s,
            covers=Covers(
                frozenset(slos), frozenset(Path.parse(path) for path in paths), frozenset(sites)
            ),
        )
    except ValueError as error:
        raise ConfigurationError(f"exclusion: {error}") from error


def _print_list(file: pathlib.Path, *, as_json: bool) -> None:
    import time

    from slo.exclusion import Exclusion
    from slo.exclusion_log import in_force, read_log, to_json

    entries = read_log(file)
    kept = {each.id for each in in_force(entries)}
    declared = [entry for entry in entries if isinstance(entry, Exclusion)]
    if as_json:
        shapes: list[dict[str, Any]] = [
            {**to_json(entry), "kind": entry.kind.value, "revoked": entry.id not in kept}
            for entry in declared
        ]
        print_json({"exclusions": shapes})
        return
    for entry in declared:
        revoked = "" if entry.id in kept else "; taken back"
        click.echo(_line(entry, int(time.time())) + revoked)
    if not declared:
        click.echo("nothing is excluded")


def _line(entry: Exclusion, now_s: int) -> str:
    """Say an exclusion in one line."""
    from slo.exclusion import one_line
    from slo.exclusion_log import format_time

    covers = entry.covers
    about = [
        *(f"SLO {name}" for name in sorted(covers.slos)),
        *(f"path {path}" for path in sorted(covers.paths)),
        *(f"site {name}" for name in sorted(covers.sites)),
    ]
    state = "over" if entry.end_s <= now_s else "in force" if entry.start_s <= now_s else "to come"
    return (
        f"{entry.id}: {format_time(entry.start_s)} to {format_time(entry.end_s)}, {entry.kind}, "
        f"{state}, {', '.join(about) or 'everything'}, by {one_line(entry.author)}: "
        f"{one_line(entry.reason)}"
    )
