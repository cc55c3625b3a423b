"""What the commands of `netslo slo` share."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from netslo.config.options import DATA_DIR, STORE_FILE, file_option

if TYPE_CHECKING:  # the commands import what they need, so that --help needs none of it
    from analytics.store.sqlite import SqliteStore
    from netslo.errors import ConfigurationError
    from netslo.estate import Estate
    from slo.exclusion import Exclusion
    from slo.objective import Objective
    from slo.spec import Specification

PIPE_WIDTH = 200
DAY_S = 86_400
_SPAN_S_MAX = 400 * DAY_S
STORE = pathlib.PurePath(DATA_DIR, STORE_FILE)

F = TypeVar("F", bound=Callable[..., Any])

store_option = file_option("--store", "store_file", f"The window store.  [default: DIR/{STORE}]")
slo_option = click.option(
    "--slo", "names", multiple=True, metavar="NAME", help="Only this SLO; repeatable."
)
path_option = click.option(
    "--path", "paths", multiple=True, metavar="ID", help="Only this path; repeatable."
)


def span_options(function: F) -> F:
    """Add `--from` and `--to`, as `start` and `end`, for `read_span`."""
    begin = "As 2026-11-01T00:00:00Z, or 7d before the end."
    end = "As 2026-11-24T00:00:00Z.  [default: now]"
    function = click.option("--to", "end", metavar="TIME", help=end)(function)
    return click.option("--from", "start", metavar="TIME", help=begin)(function)


def load(config_dir: pathlib.Path) -> tuple[Estate, Specification]:
    """Read the estate and its objectives."""
    from netslo.config.estate_file import load_estate
    from slo.spec import load_specification

    estate = load_estate(config_dir)
    return estate, load_specification(config_dir, estate)


def select(
    specification: Specification, names: Sequence[str], option: str = "--slo"
) -> tuple[Objective, ...]:
    """Return the objectives of these names, all without any."""
    from netslo.errors import ConfigurationError

    known = {objective.name: objective for objective in specification.objectives}
    expected = f"must be one of {', '.join(known)}" if known else "there is no SLO at all"
    if strange := [f"{option} {name}: {expected}" for name in names if name not in known]:
        raise ConfigurationError("\n".join(strange))
    return tuple(o for o in known.values() if not names or o.name in names)


def slo_count(objectives: Sequence[Objective]) -> str:
    """Say how many they are."""
    return f"{len(objectives)} {'SLO' if len(objectives) == 1 else 'SLOs'}"


def check_paths(paths: Sequence[str], estate: Estate) -> None:
    """See that these are paths of the estate."""
    from netslo.errors import ConfigurationError

    known = {path.id for path in estate.measured_paths}
    expected = "must be a path of the estate, as src:dst/class"
    if strange := [f"--path {text}: {expected}" for text in paths if text not in known]:
        raise ConfigurationError("\n".join(strange))


def log_of(config_dir: pathlib.Path, store_file: pathlib.Path | None = None) -> pathlib.Path:
    """Return where exclusions are declared: beside the store."""
    from slo.exclusion_log import FILE_NAME

    return (store_file or config_dir / STORE).parent / FILE_NAME


def load_log(
    config_dir: pathlib.Path, store_file: pathlib.Path | None = None
) -> tuple[Exclusion, ...]:
    """Read the exclusions that were declared beside the store and nobody took back."""
    from slo.exclusion_log import load_exclusions

    return load_exclusions(log_of(config_dir, store_file))


@contextmanager
def open_store(
    config_dir: pathlib.Path, store_file: pathlib.Path | None = None
) -> Iterator[SqliteStore]:
    """Open the store to read from it.

    Raises:
        ConfigurationError: it cannot be opened or read; whatever the cause, nothing is said of
            objectives then, and status 1 would say that an alert fires.
    """
    from analytics.store.sqlite import SqliteStore
    from netslo.errors import ConfigurationError, NetsloError

    try:
        with closing(SqliteStore.open(store_file or config_dir / STORE, readonly=True)) as store:
            yield store
    except ConfigurationError:
        raise
    except NetsloError as error:
        raise ConfigurationError(str(error)) from error


def refuse_all(faults: Sequence[ConfigurationError]) -> None:
    """Raise what several readers found as one, so that a person is told of all of it at once.

    Raises:
        ConfigurationError: there are faults.
    """
    from netslo.errors import ConfigurationError

    if len(faults) <= 1:
        for fault in faults:
            raise fault
    elif all(fault.problems for fault in faults):
        raise ConfigurationError(problem for fault in faults for problem in fault.problems)
    else:
        raise ConfigurationError("\n".join(map(str, faults)))


def print_json(value: object) -> None:
    import json

    click.echo(json.dumps(value, indent=2, allow_nan=False))


def read_span(
    start: str | None, end: str | None, objectives: Sequence[Objective], now_s: float
) -> tuple[int, int]:
    """Read `--from` and `--to`; without them, the last period of the first objective."""
    from netslo.errors import ConfigurationError
    from netslo.units import parse_duration
    from slo.backtest.backtest import alignment_of
    from slo.exclusion_log import format_time, parse_time

    align_s = alignment_of(*objectives)

    def moment(option: str, text: str) -> int:
        try:
            return parse_time(text)
        except (ValueError, OverflowError, OSError) as error:
            raise ConfigurationError(
                f"{option} {text}: must be a time with its offset, such as 2026-11-24T00:00:00Z"
                + (", or a duration such as 7d" if option == "--from" else "")
            ) from error

    end_s = (int(now_s) if end is None else moment("--to", end)) // align_s * align_s
    start_s = end_s - objectives[0].window_s
    if start is not None:
        try:
            start_s = end_s - int(parse_duration(start))
        except ValueError:
            start_s = moment("--from", start)
    start_s = start_s // align_s * align_s
    if not 0 <= start_s < end_s:
        raise ConfigurationError(
            f"--from {start or format_time(start_s)}: must be before the end, and after 1970"
        )
    if end_s - start_s > _SPAN_S_MAX:
        raise ConfigurationError(f"--from {start}: must be at most {_SPAN_S_MAX // DAY_S}d back")
    return start_s, end_s
