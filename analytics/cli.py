"""`netslo quantiles`: tail percentiles of a file, in bounded memory and with a stated error."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final

import click

from netslo.config.options import NumberRange, json_option

if TYPE_CHECKING:
    from rich.table import Table

_UNLIMITED: Final = 10_000  # columns


def _read_quantiles(
    _context: click.Context, _parameter: click.Parameter, value: str
) -> tuple[float, ...]:
    try:
        qs = tuple(float(part) for part in value.split(","))
    except ValueError:
        qs = ()
    if not qs or not all(0 <= q <= 1 for q in qs):
        raise click.BadParameter(f"{value!r} is no list of numbers from 0 to 1 such as 0.5,0.99")
    return qs


@click.command()
@click.argument("file")
@click.option(
    "--q",
    "qs",
    callback=_read_quantiles,
    metavar="Q,Q,...",
    default="0.5,0.9,0.99,0.999",
    show_default=True,
    help="Which quantiles.",
)
@click.option("--column", metavar="NAME", help="The column of a CSV or Parquet file.")
@click.option("--by", metavar="COLUMN", help="Quantiles of each value of this column.")
@click.option(
    "--sort",
    type=NumberRange(0, 1),
    metavar="Q",
    help="With --by: the largest quantile Q first.",
)
@click.option("--top", type=click.IntRange(1), help="With --by: so many keys only.")
@click.option(
    "--scale",
    type=click.IntRange(-10, 8),
    default=7,
    show_default=True,
    help="2**SCALE buckets per factor of two; 7 means an error of at most 0.28 %.",
)
@json_option
def quantiles(
    file: str,
    qs: tuple[float, ...],
    column: str | None,
    by: str | None,
    sort: float | None,
    top: int | None,
    scale: int,
    as_json: bool,  # noqa: FBT001 - click passes it so
) -> None:
    """Print quantiles of the numbers in FILE, each with a 95 % interval that includes all error.

    FILE has a number per line, or is a CSV file (--column NAME), a Parquet file, a
    one-dimensional .npy array, or - for standard input. It is read in chunks, whatever its size.
    """
    from analytics.columns import STANDARD_INPUT, read_column
    from analytics.extent import Extent
    from analytics.progress import counted
    from analytics.sketch import Sketch
    from analytics.summary import distribution
    from netslo.errors import ConfigurationError

    if by is not None:
        _print_by_key(file, column, by, qs, sort, top, scale, as_json=as_json)
        return
    if sort is not None or top is not None:
        raise click.UsageError("--sort and --top go with --by")
    sketch = Sketch(scale)
    extent = Extent()
    for values in counted(read_column(file, column, extent), len, extent):
        sketch.add(values, threads=0)
    if not sketch.count:
        name = "standard input" if file == STANDARD_INPUT else file
        where = name if column is None else f"{name}: column {column!r}"
        raise ConfigurationError(f"{where}: there is no finite number in it")
    shape = distribution(sketch, qs)
    shape["nan"] = sketch.nan_count
    shape["infinite"] = sketch.positive_infinity_count + sketch.negative_infinity_count
    if as_json:
        click.echo(json.dumps(shape))
    else:
        _print_table(shape)


def _print_by_key(
    file: str,
    column: str | None,
    by: str,
    qs: tuple[float, ...],
    sort: float | None,
    top: int | None,
    scale: int,
    *,
    as_json: bool,
) -> None:
    from rich.table import Table
    from rich.text import Text

    from analytics.by_key import ByKey
    from analytics.columns import read_pairs
    from analytics.extent import Extent
    from analytics.progress import counted
    from netslo.errors import ConfigurationError
    from netslo.printable import printable

    if scale < 1:
        raise click.UsageError("--by needs a --scale from 1 to 8")
    found = ByKey(scale)
    extent = Extent()
    pairs = read_pairs(file, column, by, extent)
    for keys, values in counted(pairs, lambda pair: len(pair[1]), extent):
        found.add(keys, values)
    if not found.numbers:
        raise ConfigurationError(f"{file}: no row has both a value and a {by}")
    keys = found.ordered(sort, top)
    shapes = found.shapes(keys, qs)
    if as_json:
        click.echo(json.dumps({"by": by, "keys": shapes}))
        return
    table = Table(box=None, pad_edge=False)
    table.add_column(Text(printable(by)))  # as it is spelt, brackets included
    for heading in ("values", *(f"q {q:g}" for q in qs), "max"):
        table.add_column(heading, justify="right")
    for key, shape in shapes.items():
        said = [figures["value"] for figures in shape["quantiles"].values()]
        cells = (_figure(value) for value in (*said, shape["max"]))
        table.add_row(Text(printable(key)), f"{shape['count']:,}", *cells)
    error = max(shape["relative_error"] or 0.0 for shape in shapes.values())
    _print_whole(table)
    click.echo(
        f"{len(keys):,} of {len(found.numbers):,} keys; relative error of a quantile at most "
        f"{_at_most(error)}"
    )
    nan, infinite = (sum(shape[what] for shape in shapes.values()) for what in ("nan", "infinite"))
    _print_apart(nan, infinite)


def _print_table(shape: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("quantile", "value", "95 % from", "to"):
        table.add_column(heading, justify="right")
    bounded = True
    for q, figures in shape["quantiles"].items():
        table.add_row(q, *(_figure(figures[key]) for key in ("value", "low", "high")))
        bounded &= float(q) in (0, 1) or None not in (figures["low"], figures["high"])
    _print_whole(table)
    click.echo(
        f"{shape['count']:,} values from {_figure(shape['min'])} to {_figure(shape['max'])}, "
        f"sum {_figure(shape['sum'])}"
    )
    click.echo(
        f"relative error of a quantile at most {_at_most(shape['relative_error'])}, "
        "which the intervals include"
    )
    if not bounded:
        click.echo("-: too few values to bound the quantile on that side")
    _print_apart(shape["nan"], shape["infinite"])


def _print_apart(nan: int, infinite: int) -> None:
    if nan or infinite:
        click.echo(f"Counted apart: {nan:,} NaN, {infinite:,} infinite")


def _print_whole(table: Table) -> None:
    """Print a table as wide as it is: a figure cut off would be another one."""
    from rich.console import Console

    needed = Console(width=_UNLIMITED).measure(table).maximum
    width = max(Console().width, needed)
    Console(highlight=False, width=width).print(table)


def _at_most(ratio: float) -> str:
    """Return a bound in percent, never less than it is."""
    return f"{math.ceil(ratio * 1e4) / 1e4:.2%}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value + 0.0:.6g}"  # which makes -0.0 a zero
