"""Columns of numbers from files: text, CSV, `.npy`, standard input; in chunks, never whole."""

from __future__ import annotations

import csv
import itertools
import pathlib
import sys
from collections.abc import Iterable, Iterator
from typing import Final, TextIO

import numpy as np
from numpy.typing import NDArray

from netslo.errors import ConfigurationError, Problem

CHUNK: Final = 1 << 18  # values at a time
STANDARD_INPUT: Final = "-"

Values = NDArray[np.float64]


def read_column(file: str, column: str | None = None) -> Iterator[Values]:
    """Yield the values of a column, shape (n,) each, in the order of the file.

    Args:
        file: A path, or `-` for standard input. `.npy` holds a one-dimensional array of numbers;
            anything else is text, a number per line, blank lines and `#` comments apart.
        column: The name of a column in the header of a CSV file.

    Raises:
        ConfigurationError: the file cannot be read, has no such column, or something in it
            is no number; with the line.
    """
    if file.endswith(".npy"):
        if column is not None:
            raise ConfigurationError(f"{file}: a .npy file has no column {column!r}")
        yield from _read_npy(pathlib.Path(file))
        return
    try:
        with _open(file) as stream:
            yield from _csv(file, stream, column) if column else _text(file, stream)
    except OSError as error:
        raise _fault(file, None, f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise _fault(file, None, "is not UTF-8 text") from error


def _open(file: str) -> TextIO:
    if file == STANDARD_INPUT:
        return open(sys.stdin.fileno(), encoding="utf-8", newline="", closefd=False)
    return pathlib.Path(file).open(encoding="utf-8", newline="")


def _text(file: str, stream: TextIO) -> Iterator[Values]:
    """Yield the numbers of a text file, one to a line."""
    first = 1
    while lines := list(itertools.islice(stream, CHUNK)):
        try:
            yield np.array(lines, dtype=np.float64)
        except ValueError:
            yield _line_by_line(file, lines, first)
        first += len(lines)


def _line_by_line(file: str, lines: list[str], first: int) -> Values:
    """Read a chunk with comments or blank lines, or find the line that is no number."""
    values: list[float] = []
    for number, line in enumerate(lines, first):
        text = line.partition("#")[0].strip()
        if text:
            values.append(_number(file, number, "", text))
    return np.array(values, dtype=np.float64)


def _csv(file: str, stream: TextIO, column: str) -> Iterator[Values]:
    """Yield one column of a CSV file by its name; empty cells are no values."""
    rows = csv.reader(stream)
    try:
        header = next(rows, [])
        if column not in header:
            known = ", ".join(header) or "none: the file is empty"
            raise _fault(file, 1, f"has no column {column!r}; its columns are {known}")
        at = header.index(column)
        while chunk := list(itertools.islice(rows, CHUNK)):
            last = rows.line_num
            cells = [row[at] if at < len(row) else "" for row in chunk]
            yield _cells(file, column, cells, last - len(chunk) + 1)
    except csv.Error as error:
        raise _fault(file, rows.line_num, f"is not CSV: {error}") from error


def _cells(file: str, column: str, cells: list[str], first: int) -> Values:
    try:
        return np.array([cell for cell in cells if cell.strip()], dtype=np.float64)
    except ValueError:
        numbered: Iterable[tuple[int, str]] = enumerate(cells, first)
        return np.array(
            [_number(file, number, column, cell) for number, cell in numbered if cell.strip()],
            dtype=np.float64,
        )


def _number(file: str, line: int, field: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        problem = Problem(file, line, field or "value", text[:60], "must be a number")
        raise ConfigurationError([problem]) from None


def _read_npy(file: pathlib.Path) -> Iterator[Values]:
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise _fault(str(file), None, f"cannot be read: {error.strerror or error}") from error
    except (ValueError, EOFError) as error:
        raise _fault(str(file), None, f"is no .npy file of numbers: {error}") from error
    if array.ndim != 1 or array.dtype.kind not in "fiu":
        shape = f"{array.dtype} of shape {array.shape}"
        raise _fault(str(file), None, f"holds {shape}; expected one dimension of real numbers")
    for start in range(0, len(array), CHUNK):
        yield np.asarray(array[start : start + CHUNK], dtype=np.float64)


def _fault(file: str, line: int | None, expected: str) -> ConfigurationError:
    return ConfigurationError([Problem(file, line, "", "", expected)])
