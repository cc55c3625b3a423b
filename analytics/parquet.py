"""Columns of Parquet files, a batch of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from analytics.extent import Extent
from netslo.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    import pyarrow.parquet as pq

_ROWS: Final = 1 << 18

Values = NDArray[np.float64]


def read_parquet(
    file: str, column: str | None, by: str | None, extent: Extent
) -> Iterator[tuple[Any, Values]]:
    """Yield (keys, values) of each batch; without `by`, keys are None.

    Rows without a value, or without a key, are left out: nulls are no values. `extent` is told
    how many rows there are and how many were read.

    Raises:
        ConfigurationError: the file cannot be read, or has no such column of numbers.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise _fault(file, "Parquet needs pyarrow. Run: pip install 'netslo[analytics]'") from error
    try:
        with pq.ParquetFile(file) as opened:
            name = _column(file, opened, column)
            names = [name] if by is None else [name, by]
            for wanted in names:
                if opened.schema_arrow.names.count(wanted) > 1:
                    raise _fault(file, f"has several columns {wanted!r}")
            if by is not None and by not in opened.schema_arrow.names:
                known = ", ".join(opened.schema_arrow.names)
                raise _fault(file, f"has no column {by!r}; its columns are {known}")
            if by is not None and pa.types.is_nested(kind := opened.schema_arrow.field(by).type):
                raise _fault(file, f"column {by!r} is of type {kind}, which names no key")
            extent.total = opened.metadata.num_rows
            for batch in opened.iter_batches(_ROWS, columns=names):
                extent.done += batch.num_rows
                yield _values(batch, name, by)
    except OSError as error:
        raise _fault(file, f"cannot be read: {_line(error)}") from error
    except pa.ArrowException as error:
        raise _fault(file, f"is no Parquet file, or is damaged: {_line(error)}") from error


def _values(batch: Any, name: str, by: str | None) -> tuple[Any, Values]:
    import pyarrow.compute as pc

    column = batch.column(name)
    kept = pc.is_valid(column)
    if by is not None:
        kept = pc.and_(kept, pc.is_valid(batch.column(by)))
    values = np.asarray(column.filter(kept).cast("float64", safe=False), dtype=np.float64)
    if by is None:
        return None, values
    return batch.column(by).filter(kept), values


def _column(file: str, opened: pq.ParquetFile, column: str | None) -> str:
    import pyarrow as pa

    schema = opened.schema_arrow
    numeric = [
        field.name
        for field in schema
        if pa.types.is_integer(field.type)
        or pa.types.is_floating(field.type)
        or pa.types.is_decimal(field.type)
    ]
    if column is None:
        if len(numeric) == 1:
            return str(numeric[0])
        found = ", ".join(numeric) or "none"
        raise _fault(file, f"name the column with --column; columns of numbers are {found}")
    if column not in schema.names:
        raise _fault(file, f"has no column {column!r}; its columns are {', '.join(schema.names)}")
    if column not in numeric:
        raise _fault(file, f"column {column!r} is of type {schema.field(column).type}, not numbers")
    return column


def _line(error: Exception) -> str:
    """Return what an error says, on one line."""
    return " ".join((getattr(error, "strerror", None) or str(error)).split())


def _fault(file: str, expected: str) -> ConfigurationError:
    return ConfigurationError([Problem(file, None, "", "", expected)])
