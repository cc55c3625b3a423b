"""Columns of numbers from files: text, CSV, `.npy`, standard input; in chunks, never whole."""

from __future__ import annotations

import csv
import io
import itertools
import pathlib
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, TextIO

import numpy as np
from numpy.typing import NDArray

from analytics.extent import Extent
from analytics.parquet import read_parquet
from netslo.errors import ConfigurationError, Problem

CHUNK: Final = 1 << 18  # values at a time
LINE_MAX: Final = 1 << 20  # characters; a longer line is not text of numbers
STANDARD_INPUT: Final = "-"
_PARQUET: Final = ".parquet"
_NPY: Final = ".npy"
_MAGIC: Final = (
    (b"PAR1", "a Parquet file", _PARQUET),
    (b"\x93NUMPY", "a .npy array", _NPY),
)  # what such a file begins with
_CAREFUL: Final = re.compile(r"[^0-9eE.+\-\n]")  # anything beyond plain numbers, one to a line
_ENCODING: Final = "utf-8-sig"  # spreadsheets put a byte order mark before UTF-8

Values = NDArray[np.float64]


def read_column(
    file: str, column: str | None = None, extent: Extent | None = None
) -> Iterator[Values]:
    """Yield the values of a column, shape (n,) each, in the order of the file.

    Args:
        file: A path, or `-` for standard input. `.npy` holds a one-dimensional array of numbers,
            `.parquet` columns; anything else is text, a number per line, blank lines and `#`
            comments apart.
        column: The name of a column in the header of a CSV file or in a Parquet file; empty
            cells are no values.
        extent: Is told how much there is, where that is known, and how much was read.

    Raises:
        ConfigurationError: the file cannot be read, has no such column, or something in it
            is no number; with the line.
    """
    extent = extent or Extent()
    if file.lower().endswith(_NPY):
        if column is not None:
            raise _fault(file, None, f"a .npy file has no column {column!r}")
        yield from _npy(file, extent)
        return
    if file.lower().endswith(_PARQUET):
        yield from (values for _, values in read_parquet(file, column, None, extent))
        return
    name = "standard input" if file == STANDARD_INPUT else file
    try:
        with _open(file) as stream:
            lines = _lines(name, stream)
            values = _text(name, lines) if column is None else _csv(name, lines, column)
            yield from extent.follow(stream, values)
    except OSError as error:
        raise _fault(name, None, f"cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise _fault(name, None, _why_no_text(file, error)) from error


def read_pairs(
    file: str, column: str | None, by: str, extent: Extent | None = None
) -> Iterator[tuple[Any, Values]]:
    """Yield (keys, values) of a CSV or Parquet file; rows that lack either are left out.

    Raises:
        ConfigurationError: as for `read_column`; or the file has no columns.
    """
    extent = extent or Extent()
    if file.lower().endswith(_PARQUET):
        yield from read_parquet(file, column, by, extent)
        return
    name = "standard input" if file == STANDARD_INPUT else file
    if file.lower().endswith(_NPY) or column is None:
        raise _fault(name, None, "--by needs a CSV file and --column, or a Parquet file")
    try:
        with _open(file) as stream:
            yield from extent.follow(stream, _csv_pairs(name, _lines(name, stream), column, by))
    except OSError as error:
        raise _fault(name, None, f"cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise _fault(name, None, _why_no_text(file, error)) from error


@contextmanager
def _open(file: str) -> Iterator[TextIO]:
    if file != STANDARD_INPUT:
        with pathlib.Path(file).open(encoding=_ENCODING, newline="") as stream:
            yield stream
    elif sys.stdin is None:
        raise _fault("standard input", None, "is closed")
    else:
        stream = io.TextIOWrapper(sys.stdin.buffer, encoding=_ENCODING, newline="")
        try:
            yield stream
        finally:
            stream.detach()  # it is not ours to close


def _why_no_text(file: str, error: UnicodeDecodeError) -> str:
    """Say what a file is instead, where its first octets tell."""
    for beginning, kind, ending in _MAGIC:
        if error.object.startswith(beginning):
            if file == STANDARD_INPUT:
                return f"is {kind}, which is read from a file only: name the file"
            return f"is {kind}, so its name must end in {ending}"
    return "is not UTF-8 text"


def _lines(file: str, stream: TextIO) -> Iterator[str]:
    for number in itertools.count(1):
        line = stream.readline(LINE_MAX)
        if not line:
            return
        if len(line) == LINE_MAX:
            raise _fault(file, number, f"the line is longer than {LINE_MAX} characters")
        yield line


def _text(file: str, lines: Iterator[str]) -> Iterator[Values]:
    """Yield the numbers of a text file, one to a line."""
    first = 1
    while chunk := list(itertools.islice(lines, CHUNK)):
        yield _numbers(file, chunk, first)
        first += len(chunk)


def _numbers(file: str, lines: list[str], first: int) -> Values:
    text = "".join(lines)
    if not _CAREFUL.search(text) and not text.isspace():  # numpy takes a lone blank line for -1
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # numpy stops at what is no number, and warns
            try:
                values = np.fromstring(text, dtype=np.float64, sep="\n")
            except (ValueError, DeprecationWarning):
                values = np.zeros(0)
        if len(values) == len(lines):
            return values
    try:
        return np.array(lines, dtype=np.float64)
    except ValueError:
        return _line_by_line(file, lines, first)


def _line_by_line(file: str, lines: list[str], first: int) -> Values:
    """Read a chunk with comments or blank lines, or find the line that is no number."""
    values: list[float] = []
    for number, line in enumerate(lines, first):
        text = line.partition("#")[0].strip()
        if text:
            values.append(_number(file, number, None, text))
    return np.array(values, dtype=np.float64)


def _csv(file: str, lines: Iterator[str], column: str) -> Iterator[Values]:
    """Yield one column of a CSV file by its name."""
    rows = csv.reader(lines, strict=True)  # an open quote would swallow the rest
    try:
        (at,) = _places(file, rows, column)
        cells = ((rows.line_num, row[at].strip()) for row in rows if at < len(row))
        filled = (cell for cell in cells if cell[1])
        while chunk := list(itertools.islice(filled, CHUNK)):
            yield _cells(file, column, chunk)
    except csv.Error as error:
        raise _fault(file, rows.line_num, f"is not CSV: {error}") from error


def _csv_pairs(
    file: str, lines: Iterator[str], column: str, by: str
) -> Iterator[tuple[list[str], Values]]:
    """Yield the keys and the values of two columns of a CSV file."""
    rows = csv.reader(lines, strict=True)  # an open quote would swallow the rest
    try:
        at, key_at = _places(file, rows, column, by)
        last = max(at, key_at)
        cells = (
            (rows.line_num, row[at].strip(), row[key_at].strip()) for row in rows if last < len(row)
        )
        filled = (cell for cell in cells if cell[1] and cell[2])
        while chunk := list(itertools.islice(filled, CHUNK)):
            values = _cells(file, column, [(line, text) for line, text, _ in chunk])
            yield [key for _, _, key in chunk], values
    except csv.Error as error:
        raise _fault(file, rows.line_num, f"is not CSV: {error}") from error


def _places(file: str, rows: Iterator[list[str]], *columns: str) -> list[int]:
    """Read the header; return which columns these are."""
    header = [name.strip() for name in next(rows, [])]
    for column in columns:
        if column not in header:
            known = ", ".join(header) or "none: the file is empty"
            raise _fault(file, 1, f"has no column {column!r}; its columns are {known}")
        if header.count(column) > 1:
            raise _fault(file, 1, f"has several columns {column!r}")
    return [header.index(column) for column in columns]


def _cells(file: str, column: str, cells: list[tuple[int, str]]) -> Values:
    try:
        return np.array([text for _, text in cells], dtype=np.float64)
    except ValueError:
        numbers = [_number(file, line, column, text) for line, text in cells]
        return np.array(numbers, dtype=np.float64)


def _number(file: str, line: int, column: str | None, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        hint = "; name the column of a CSV file with --column" if column is None else ""
        expected = "must be a number" + (hint if "," in text else "")
        shown = text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 - fits a line
        raise ConfigurationError(
            [Problem(file, line, column or "value", shown, expected)]
        ) from None


def _npy(file: str, extent: Extent) -> Iterator[Values]:
    try:
        array = np.lib.format.open_memmap(file, mode="r")
    except OSError as error:
        raise _fault(file, None, f"cannot be read: {error.strerror or error}") from error
    except (ValueError, EOFError) as error:
        raise _fault(file, None, f"is no .npy file of numbers: {error}") from error
    if array.ndim != 1 or array.dtype.kind not in "fiu":
        shape = f"{array.dtype} of shape {array.shape}"
        raise _fault(file, None, f"holds {shape}; expected one dimension of real numbers")
    extent.total = len(array)
    for start in range(0, len(array), CHUNK):
        extent.done = min(start + CHUNK, len(array))
        yield np.asarray(array[start : start + CHUNK], dtype=np.float64)


def _fault(file: str, line: int | None, expected: str) -> ConfigurationError:
    return ConfigurationError([Problem(file, line, "", "", expected)])
