"""`netslo quantiles` on files as people have them, good and bad."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from analytics.cli import quantiles
from analytics.columns import CHUNK
from netslo.errors import ConfigurationError

VALUES = np.random.default_rng(3).lognormal(-3.5, 0.5, 5000)


def run(*arguments, **options):
    return CliRunner().invoke(quantiles, [str(a) for a in arguments], **options)


def error_of(*arguments) -> str:
    result = run(*arguments)
    assert isinstance(result.exception, ConfigurationError), result.output
    assert result.exception.exit_code == 2
    return str(result.exception)


@pytest.fixture(params=["text", "csv", "npy"])
def file(request, tmp_path):
    """The same numbers in each kind of file, with the options to read it."""
    path = tmp_path / {"text": "rtt.txt", "csv": "rtt.csv", "npy": "rtt.npy"}[request.param]
    if request.param == "npy":
        np.save(path, VALUES)
        return [path]
    if request.param == "csv":
        path.write_text("t,rtt\n" + "".join(f"{i},{v!r}\n" for i, v in enumerate(VALUES.tolist())))
        return [path, "--column", "rtt"]
    path.write_text("# seconds\n\n" + "".join(f"{v!r}\n" for v in VALUES.tolist()))
    return [path]


def test_every_kind_of_file_gives_numpys_quantiles(file) -> None:
    result = run(*file, "--q", "0.5,0.99", "--json")
    shape = json.loads(result.output)
    assert shape["count"] == len(VALUES)
    for q in ("0.5", "0.99"):
        exact = np.quantile(VALUES, float(q), method="lower")
        figures = shape["quantiles"][q]
        assert figures["value"] == pytest.approx(exact, rel=shape["relative_error"])
        assert figures["low"] <= figures["value"] <= figures["high"]


def test_the_table_states_the_error_and_the_number(file) -> None:
    output = run(*file).output
    assert "5,000 values" in output
    assert "0.27%" in output


def test_an_end_that_cannot_be_bounded_is_null(tmp_path) -> None:
    path = tmp_path / "few.txt"
    path.write_text("1\n2\n3\n")
    shape = json.loads(run(path, "--q", "0.999", "--json").output)
    assert shape["quantiles"]["0.999"]["high"] is None


def test_nan_and_infinity_are_counted_apart(tmp_path) -> None:
    path = tmp_path / "odd.txt"
    path.write_text("1\nnan\ninf\n2\n")
    assert "1 NaN, 1 infinite" in run(path).output


def test_a_file_of_several_chunks_is_read_whole(tmp_path) -> None:
    path = tmp_path / "long.npy"
    np.save(path, np.arange(1, 2 * CHUNK + 10, dtype=np.int32))
    shape = json.loads(run(path, "--json").output)
    assert (shape["count"], shape["max"]) == (2 * CHUNK + 9, 2 * CHUNK + 9)


BAD = {
    "a word": ("x.txt", "1\n2\nabc\n", [], "x.txt:3: value = abc: must be a number"),
    "nothing": ("x.txt", "", [], "no finite number"),
    "comments only": ("x.txt", "# a\n\n", [], "no finite number"),
    "only NaN": ("x.txt", "nan\n", [], "no finite number"),
    "no such column": ("x.csv", "a,b\n1,2\n", ["--column", "c"], "no column 'c'; its columns"),
    "a word in a column": ("x.csv", "a,b\n1,2\n3,x\n", ["--column", "b"], "x.csv:3: b = x"),
    "an empty column": ("x.csv", "a,b\n1,\n3,\n", ["--column", "b"], "no finite number"),
    "an empty CSV": ("x.csv", "", ["--column", "b"], "the file is empty"),
    "text called npy": ("x.npy", "hello", [], "no .npy file"),
    "a column of a npy": ("x.npy", "", ["--column", "b"], "no column"),
}


@pytest.mark.parametrize(("name", "text", "options", "expected"), BAD.values(), ids=BAD.keys())
def test_a_bad_file_has_one_clear_message(tmp_path, name, text, options, expected) -> None:
    path = tmp_path / name
    path.write_text(text)
    message = error_of(path, *options)
    assert expected in message
    assert str(path) in message


def test_a_missing_file_is_named(tmp_path) -> None:
    assert "No such file" in error_of(tmp_path / "none.txt")
    assert "No such file" in error_of(tmp_path / "none.npy")


def test_octets_that_are_no_text_are_refused(tmp_path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in error_of(path)


def test_an_array_of_two_dimensions_or_of_objects_is_refused(tmp_path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((2, 2)))
    assert "one dimension" in error_of(path)
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    assert ".npy" in error_of(path)


@pytest.mark.parametrize("q", ["2", "x", "", "0.5,-1"])
def test_a_quantile_that_is_none_is_a_usage_error(q, tmp_path) -> None:
    assert run(tmp_path / "x", "--q", q).exit_code == 2
