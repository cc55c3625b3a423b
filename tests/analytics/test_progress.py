"""How far a long command has come: what readers tell, and what a terminal shows."""

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from analytics import columns, progress
from analytics.columns import read_column, read_pairs
from analytics.extent import Extent

COUNT = 40


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch):
    """A terminal that is told at once."""
    monkeypatch.setattr(progress, "_PATIENCE_S", -1.0)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Terminal()


@pytest.fixture(params=["text", "csv", "npy", "parquet", "by csv", "by parquet"])
def reader(request, tmp_path, monkeypatch):
    """Each kind of file, in chunks of ten, and the total that it must tell."""
    monkeypatch.setattr(columns, "CHUNK", 10)
    monkeypatch.setattr("analytics.parquet._ROWS", 10)
    kind = request.param.split()[-1]
    path = tmp_path / f"x.{kind}"
    values = np.arange(COUNT, dtype=np.float64)
    if kind == "npy":
        np.save(path, values)
    elif kind == "parquet":
        parquet.write_table(pa.table({"x": [*values[:-1], None], "k": ["a"] * COUNT}), path)
    else:
        head = "x,k\n" if kind == "csv" else ""
        path.write_text(head + "".join(f"{v}{',a' * bool(head)}\n" for v in values))
    size = COUNT if kind in {"npy", "parquet"} else path.stat().st_size
    name = "x" if kind in {"csv", "parquet"} else None
    if request.param.startswith("by"):
        return lambda extent: read_pairs(str(path), name, "k", extent), size
    return lambda extent: read_column(str(path), name, extent), size


def test_each_kind_of_file_tells_how_much_of_it_was_read(reader) -> None:
    read, size = reader
    extent, seen = Extent(), []
    for _ in read(extent):
        assert extent.total == size
        seen.append(extent.done)
    assert seen == sorted(seen)
    assert len(seen) == 4
    assert seen[-1] == size


def test_of_a_pipe_nobody_knows_the_end(tmp_path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    with subprocess.Popen(["sh", "-c", f"echo 1 >{path}"]):
        extent = Extent()
        (values,) = read_column(str(path), None, extent)
    assert values.tolist() == [1.0]
    assert (extent.total, extent.done) == (None, 0)


def parts_of(extent: Extent):
    for done in (1, 2):
        extent.done = done
        yield np.zeros(1000)


def test_a_terminal_is_told_the_fraction_and_the_number(terminal) -> None:
    extent = Extent(4)
    with redirect_stderr(terminal):
        passed = list(progress.counted(parts_of(extent), len, extent))
    assert [len(part) for part in passed] == [1000, 1000]
    assert "50%" in terminal.getvalue()
    assert "2,000 values" in terminal.getvalue()
    assert "left" in terminal.getvalue()


def test_without_a_known_end_there_is_no_fraction(terminal) -> None:
    extent = Extent()
    with redirect_stderr(terminal):
        assert len(list(progress.counted(parts_of(extent), len, extent))) == 2
    assert "2,000 values" in terminal.getvalue()
    assert "%" not in terminal.getvalue()


def test_the_bar_goes_where_the_reading_fails(terminal) -> None:
    def failing():
        yield np.zeros(5)
        raise ValueError("no number")

    with redirect_stderr(terminal), pytest.raises(ValueError, match="no number"):
        list(progress.counted(failing(), len, Extent(10)))
    assert terminal.getvalue().endswith("\x1b[2K")  # the line is erased


@pytest.mark.parametrize("stream", [None, io.StringIO()])
def test_what_is_no_terminal_is_told_nothing(stream, monkeypatch) -> None:
    monkeypatch.setattr(progress, "_PATIENCE_S", -1.0)
    monkeypatch.setattr(sys, "stderr", stream)
    assert len(list(progress.counted(parts_of(Extent()), len, Extent(4)))) == 2
    assert stream is None or not stream.getvalue()


def test_a_short_command_shows_nothing(terminal, monkeypatch) -> None:
    monkeypatch.setattr(progress, "_PATIENCE_S", 1e9)
    with redirect_stderr(terminal):
        list(progress.counted(parts_of(Extent()), len, Extent(4)))
    assert not terminal.getvalue()
