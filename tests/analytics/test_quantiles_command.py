"""`netslo quantiles` on files as people have them, good and bad."""

import json
import math
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from analytics import by_key
from analytics.cli import quantiles
from analytics.columns import CHUNK, LINE_MAX, _line_by_line, _numbers
from analytics.sketch import Sketch
from analytics.summary import distribution
from netslo.errors import ConfigurationError

RNG = np.random.default_rng(3)
VALUES = RNG.lognormal(-3.5, 0.5, 5000)


def run(*arguments, **options):
    return CliRunner().invoke(quantiles, [str(a) for a in arguments], **options)


def error_of(*arguments) -> str:
    result = run(*arguments)
    assert isinstance(result.exception, ConfigurationError), result.output
    assert result.exception.exit_code == 2
    return str(result.exception)


@pytest.fixture(params=["text", "csv", "npy", "parquet"])
def file(request, tmp_path):
    """The same numbers in each kind of file, with the options to read it."""
    names = {"text": "rtt.txt", "csv": "rtt.csv", "npy": "rtt.npy", "parquet": "rtt.parquet"}
    path = tmp_path / names[request.param]
    if request.param == "parquet":
        parquet.write_table(pa.table({"rtt": VALUES, "site": ["leeds"] * len(VALUES)}), path)
        return [path]
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
    assert "at most 0.28%" in output  # 0.2708 %, and a bound is not rounded down


def test_names_are_printed_as_they_are_spelt(tmp_path) -> None:
    path = tmp_path / "odd.csv"
    path.write_text("[b]site,rtt\n[/red],1\n[bold]leeds,2\n")
    lines = run(path, "--column", "rtt", "--by", "[b]site").output.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["[b]site", "[/red]", "[bold]leeds"]


def test_nothing_in_a_file_acts_on_the_terminal(tmp_path) -> None:
    path = tmp_path / "odd.csv"
    path.write_text("si\x1b[2Jte,rtt\n\x1b]0;owned\x07leeds,1\nM\u202eilan,2\nMünchen,x\n")
    refused = error_of(path, "--column", "rtt", "--by", "si\x1b[2Jte")
    assert "rtt = x" in refused
    path.write_text(path.read_text().replace(",x", ",3"))
    result = run(path, "--column", "rtt", "--by", "si\x1b[2Jte")
    first = [line.split()[0] for line in result.output.splitlines()[:4]]
    assert first == [r"si\x1b[2Jte", r"\x1b]0;owned\x07leeds", "München", r"M\u202eilan"]
    for column in ("r\x1b[31m", "rtt"):
        message = error_of(path, "--column", column, "--by", "t\x9b2J")
        assert message.isprintable()
        assert r"si\x1b[2Jte" in message
    path.write_text("rtt\n\x1b[31mred\n")
    assert r"rtt = \x1b[31mred" in error_of(path, "--column", "rtt")


def test_no_figure_is_cut_off_where_there_are_many(tmp_path) -> None:
    path = tmp_path / "rtt.csv"
    path.write_text(
        "site,rtt\n" + "".join(f"a-long-name-of-a-site,{v!r}\n" for v in VALUES.tolist())
    )
    qs = ",".join(f"{q:g}" for q in np.linspace(0, 1, 13))
    lines = run(path, "--column", "rtt", "--by", "site", "--q", qs).output.splitlines()
    assert "…" not in lines[1]
    assert lines[1].startswith("a-long-name-of-a-site")
    assert len(lines[1].split()) == 16


def test_an_end_that_cannot_be_bounded_is_null(tmp_path) -> None:
    path = tmp_path / "few.txt"
    path.write_text("1\n2\n3\n")
    shape = json.loads(run(path, "--q", "0.999", "--json").output)
    assert shape["quantiles"]["0.999"]["high"] is None


def test_nan_and_infinity_are_counted_apart(tmp_path) -> None:
    path = tmp_path / "odd.txt"
    path.write_text("1\nnan\ninf\n2\n")
    assert "1 NaN, 1 infinite" in run(path).output


def test_json_counts_nan_and_infinity_too(tmp_path) -> None:
    path = tmp_path / "odd.txt"
    path.write_text("1\nnan\ninf\n-inf\n2\n")
    shape = json.loads(run(path, "--json").output)
    assert (shape["count"], shape["nan"], shape["infinite"]) == (2, 1, 2)


def test_the_table_says_what_too_few_values_cannot_bound(tmp_path) -> None:
    path = tmp_path / "few.txt"
    path.write_text("1\n2\n3\n")
    assert "too few values" in run(path).output
    assert "too few values" not in run(path, "--q", "0,1").output


def test_standard_input_is_a_file_too() -> None:
    result = run("-", "--q", "0.5", "--json", input="3\n1\n2\n")
    assert json.loads(result.output)["quantiles"]["0.5"]["value"] == pytest.approx(2, rel=0.003)
    result = run("-", "--column", "b", "--q", "1", "--json", input="a,b\n1,2\n3,4\n")
    assert json.loads(result.output)["quantiles"]["1"]["value"] == 4
    assert "standard input:2" in str(run("-", input="1\nx\n").exception)


def test_standard_input_works_in_a_real_pipe() -> None:
    code = "from analytics.cli import quantiles; quantiles()"
    done = subprocess.run(
        [sys.executable, "-c", code, "-", "--json", "--q", "0"],
        input=b"5\n7\n",
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout)["quantiles"]["0"]["value"] == 5


def test_csv_as_spreadsheets_write_it(tmp_path) -> None:
    path = tmp_path / "sheet.csv"
    path.write_bytes('\ufeffrtt , "the, note"\r\n1," two\r\nlines"\r\n\r\n 2 ,\r\n'.encode())
    shape = json.loads(run(path, "--column", "rtt", "--json").output)
    assert (shape["count"], shape["sum"]) == (2, 3.0)
    path.write_text('rtt,note\n1,"two\nlines"\nx,\n')
    assert "sheet.csv:4: rtt = x: must be a number" in error_of(path, "--column", "rtt")


def test_comments_may_stand_anywhere_and_lines_keep_their_numbers(tmp_path) -> None:
    path = tmp_path / "long.txt"
    path.write_text("# s\n\n" + "1 # good\n" * CHUNK + "bad\n")
    assert f"long.txt:{CHUNK + 3}: value = bad" in error_of(path)


def test_a_line_without_end_is_refused_before_it_fills_the_memory(tmp_path) -> None:
    path = tmp_path / "endless.txt"
    path.write_text("1\n" + "0" * (LINE_MAX + 1))
    assert "endless.txt:2: the line is longer" in error_of(path)


def test_an_empty_array_has_no_number(tmp_path) -> None:
    path = tmp_path / "none.npy"
    np.save(path, np.zeros(0))
    assert "none.npy" in error_of(path)


@pytest.mark.parametrize("length", [0, 3, 6, 8, 10, 60, 127, 130])
def test_a_truncated_array_is_refused(length, tmp_path) -> None:
    path = tmp_path / "cut.npy"
    np.save(path, np.arange(100.0))
    path.write_bytes(path.read_bytes()[:length])
    assert "cut.npy" in error_of(path)


def test_an_archive_of_arrays_is_no_array(tmp_path) -> None:
    np.savez(tmp_path / "x.npz", a=VALUES)
    (tmp_path / "x.npz").rename(tmp_path / "x.npy")
    assert "no .npy file" in error_of(tmp_path / "x.npy")


@pytest.mark.skipif(find_spec("numba") is None, reason="numba is an extra")
def test_numba_stays_out_of_a_short_command(tmp_path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, VALUES)
    code = "import sys; from analytics.cli import quantiles\n"
    code += "quantiles(sys.argv[1:], standalone_mode=False); assert 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, path], capture_output=True, check=True)


def test_a_file_of_several_chunks_is_read_whole(tmp_path) -> None:
    path = tmp_path / "long.npy"
    np.save(path, np.arange(1, 2 * CHUNK + 10, dtype=np.int32))
    shape = json.loads(run(path, "--json").output)
    assert (shape["count"], shape["max"]) == (2 * CHUNK + 9, 2 * CHUNK + 9)


BAD = {
    "CSV without --column": ("x.csv", "a,b\n1,2\n", [], "column of a CSV file with --column"),
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
    assert "directory" in error_of(tmp_path)


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


def table_of(tmp_path, kind: str):
    """The same rows, some of them without a key or a value, in both kinds of file with columns."""
    sites = ["leeds", "10", "2", None, "leeds", "2"] * 500
    values = [0.5, 1.0, None, 4.0, 1.5, 3.0] * 500
    path = tmp_path / f"rows.{kind}"
    if kind == "parquet":
        parquet.write_table(pa.table({"rtt": values, "site": sites}), path, row_group_size=700)
    else:
        rows = (f"{s or ''},{'' if v is None else v}\n" for s, v in zip(sites, values, strict=True))
        path.write_text("site,rtt\n" + "".join(rows))
    return path


@pytest.mark.parametrize("kind", ["csv", "parquet"])
class TestByKey:
    def test_each_key_has_its_own_quantiles(self, tmp_path, kind) -> None:
        options = ["--column", "rtt", "--by", "site", "--q", "0,1", "--json"]
        answer = json.loads(run(table_of(tmp_path, kind), *options).output)
        assert answer["by"] == "site"
        assert list(answer["keys"]) == ["2", "10", "leeds"]  # numbers as numbers
        leeds = answer["keys"]["leeds"]
        assert (leeds["count"], leeds["min"], leeds["max"]) == (1000, 0.5, 1.5)
        assert {k: v["count"] for k, v in answer["keys"].items()} == {
            "2": 500,
            "10": 500,
            "leeds": 1000,
        }

    def test_each_key_has_the_intervals_of_its_values_alone(self, tmp_path, kind) -> None:
        path = tmp_path / f"many.{kind}"
        values = RNG.lognormal(-3, 1, 900)
        values[1::3] *= 1e9  # of b
        values[2::3] = [math.nan, math.inf] * 150
        if kind == "parquet":
            table = {"v": values, "k": ["a", "b", "c"] * 300}
            parquet.write_table(pa.table(table), path)
        else:
            rows = zip(["a", "b", "c"] * 300, values.tolist(), strict=True)
            path.write_text("k,v\n" + "".join(f"{k},{v!r}\n" for k, v in rows))
        options = ["--column", "v", "--by", "k", "--q", "0,0.5,0.999", "--json"]
        keys = json.loads(run(path, *options).output)["keys"]
        for n, key in enumerate("ab"):
            sketch = Sketch()
            sketch.add(values[n::3])
            expected = distribution(sketch, (0, 0.5, 0.999)) | {"nan": 0, "infinite": 0}
            assert keys[key].pop("sum") == pytest.approx(expected.pop("sum"))
            assert keys[key] == expected
        assert (keys["c"]["nan"], keys["c"]["infinite"]) == (150, 150)
        assert keys["c"]["quantiles"]["0.5"] == {"value": None, "low": None, "high": None}
        assert "150 NaN, 150 infinite" in run(path, *options[:-1]).output

    def test_the_worst_come_first_where_asked(self, tmp_path, kind) -> None:
        options = ["--column", "rtt", "--by", "site", "--sort", "0.99", "--top", "2"]
        result = run(table_of(tmp_path, kind), *options)
        lines = result.output.splitlines()
        assert [line.split()[0] for line in lines[1:3]] == ["2", "leeds"]
        assert "2 of 3 keys" in result.output

    def test_a_missing_key_column_is_named(self, tmp_path, kind) -> None:
        message = error_of(table_of(tmp_path, kind), "--column", "rtt", "--by", "path")
        assert "has no column 'path'; its columns are" in message


def test_pairs_are_counted_whole_however_many_wait(monkeypatch) -> None:
    monkeypatch.setattr(by_key, "_TOGETHER", 5)
    found, all_values = by_key.ByKey(7), {}
    for portion in (1, 4, 0, 2, 9, 3):
        keys = [f"k{n % 3}" for n in range(portion)]
        values = RNG.lognormal(size=portion)
        found.add(keys, values)
        for key, value in zip(keys, values, strict=True):
            all_values.setdefault(key, []).append(value)
    shapes = found.shapes(found.ordered(None, None), [0.5])
    assert list(shapes) == sorted(all_values)
    for key, shape in shapes.items():
        assert shape["count"] == len(all_values[key])
        assert shape["sum"] == pytest.approx(sum(all_values[key]))


def test_keys_need_columns(tmp_path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, VALUES)
    assert "--by needs a CSV file" in error_of(path, "--by", "site")
    for options in (["--top", "3"], ["--sort", "0.5"], ["--by", "site", "--sort", "nan"]):
        assert run(path, *options).exit_code == 2
    assert run(path, "--by", "x", "--scale", "0").exit_code == 2


def test_parquet_without_a_choice_of_columns_says_which_there_are(tmp_path) -> None:
    path = tmp_path / "two.parquet"
    parquet.write_table(pa.table({"a": [1.0], "b": [2], "c": ["x"]}), path)
    assert "columns of numbers are a, b" in error_of(path)
    assert "has no column 'z'; its columns are a, b, c" in error_of(path, "--column", "z")
    assert "of type string, not numbers" in error_of(path, "--column", "c")
    lists = tmp_path / "lists.parquet"
    parquet.write_table(pa.table({"a": [1.0], "lists": [[1, 2]]}), lists)
    assert "which names no key" in error_of(lists, "--column", "a", "--by", "lists")
    whole = json.loads(run(path, "--column", "b", "--json").output)
    assert (whole["count"], whole["max"]) == (1, 2.0)


@pytest.mark.parametrize("octets", [b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1", b"hello" * 50])
def test_what_is_no_parquet_file_is_said(tmp_path, octets) -> None:
    path = tmp_path / "broken.parquet"
    path.write_bytes(octets)
    assert "broken.parquet" in error_of(path)
    assert "cannot be read" in error_of(tmp_path / "none.parquet")


LINE = st.sampled_from(
    ["1", "-2.5", "1e3", "nan", " 7 ", "", "# x", "1 2", "1_0", "0x1", "--1", "."]
)


@pytest.mark.parametrize("lines", [1, 2, CHUNK + 1])
def test_blank_lines_are_no_numbers(tmp_path, lines) -> None:
    path = tmp_path / "blank.txt"
    path.write_text("\n" * lines)
    assert "there is no finite number in it" in error_of(path)


@given(st.lists(LINE | st.floats().map(repr), max_size=8), st.booleans())
def test_blocks_are_read_as_lines_are(lines, ended) -> None:
    block = [f"{line}\n" for line in lines]
    if block and not ended:
        block[-1] = block[-1][:-1]
    outcomes = []
    for read in (_numbers, _line_by_line):
        try:
            outcomes.append(repr(read("f", block, 1).tolist()))
        except ConfigurationError as error:
            outcomes.append(str(error))
    assert outcomes[0] == outcomes[1]


def test_a_quote_that_never_ends_does_not_swallow_the_rest(tmp_path) -> None:
    path = tmp_path / "open.csv"
    path.write_text('site,rtt\nleeds,1\n"york,2\nkent,3\n')
    assert error_of(path, "--column", "rtt") == f"{path}:4: is not CSV: unexpected end of data"
    assert "unexpected end of data" in error_of(path, "--column", "rtt", "--by", "site")


def test_an_ending_may_be_spelt_in_capitals(tmp_path) -> None:
    parquet.write_table(pa.table({"rtt": [1.0]}), tmp_path / "A.PARQUET")
    with (tmp_path / "A.NPY").open("wb") as file:
        np.save(file, np.ones(1))
    for name in ("A.PARQUET", "A.NPY"):
        assert json.loads(run(tmp_path / name, "--json").output)["count"] == 1


def test_a_column_there_twice_is_no_choice(tmp_path) -> None:
    path = tmp_path / "twice.parquet"
    columns = [pa.array([1.0]), pa.array([2.0]), pa.array([3.0])]
    parquet.write_table(pa.table(columns, names=["rtt", "rtt", "other"]), path)
    assert "several columns 'rtt'" in error_of(path, "--column", "rtt")
    assert "several columns 'rtt'" in error_of(path, "--column", "other", "--by", "rtt")


def test_a_column_of_csv_there_twice_is_no_choice(tmp_path) -> None:
    path = tmp_path / "twice.csv"
    path.write_text("rtt,other,rtt\n1,2,3\n")
    assert "twice.csv:1: has several columns 'rtt'" in error_of(path, "--column", "rtt")
    assert "several columns 'rtt'" in error_of(path, "--column", "other", "--by", "rtt")
    assert json.loads(run(path, "--column", "other", "--json").output)["count"] == 1


def test_a_binary_file_in_a_wrong_place_is_called_what_it_is(tmp_path) -> None:
    table, array = tmp_path / "rtt.dat", tmp_path / "rtt.bin"
    parquet.write_table(pa.table({"rtt": VALUES, "site": ["leeds"] * len(VALUES)}), table)
    with array.open("wb") as file:
        np.save(file, VALUES)
    for path, kind, ending in ((table, "Parquet", ".parquet"), (array, ".npy", ".npy")):
        for options in ([], ["--column", "rtt"], ["--column", "rtt", "--by", "site"]):
            message = error_of(path, *options)
            assert kind in message
            assert f"must end in {ending}" in message
            result = run("-", *options, input=path.read_bytes())
            assert isinstance(result.exception, ConfigurationError)
            assert kind in str(result.exception)
            assert "name the file" in str(result.exception)


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary(5)])
def test_octets_are_keys_as_they_are_spelt(kind, tmp_path) -> None:
    path = tmp_path / "octets.parquet"
    keys = [b"leeds", b"M\xc3\xbcnc", b"\xff\x00abc", b"\xfe\x00abc"]
    sites = pa.array(keys, type=kind)
    parquet.write_table(pa.table({"site": sites, "rtt": [1.0, 2.0, 3.0, 4.0]}), path)
    result = run(path, "--column", "rtt", "--by", "site")
    first = [line.split()[0] for line in result.output.splitlines()[1:5]]
    assert first == ["M\u00fcnc", "leeds", r"\xfe\x00abc", r"\xff\x00abc"]
    assert len(json.loads(run(path, "--by", "site", "--json").output)["keys"]) == 4


def test_a_damaged_page_is_said_on_one_line(tmp_path) -> None:
    path = tmp_path / "page.parquet"
    parquet.write_table(pa.table({"rtt": VALUES}), path)
    octets = bytearray(path.read_bytes())
    octets[4:40] = b"\xff" * 36
    path.write_bytes(octets)
    assert "\n" not in error_of(path)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (pa.timestamp("ns"), "1970-01-01 00:00:00.000000001"),
        (pa.timestamp("ns", "Europe/London"), "1970-01-01 00:00:00.000000001Z"),
        (pa.time64("ns"), "00:00:00.000000001"),
        (pa.duration("ns"), "1"),
        (pa.date32(), "1970-01-02"),
    ],
)
def test_times_are_keys_to_the_nanosecond(kind, expected, tmp_path) -> None:
    path = tmp_path / "times.parquet"
    parquet.write_table(pa.table({"at": pa.array([1, None], type=kind), "rtt": [1.0, 2.0]}), path)
    shapes = json.loads(run(path, "--column", "rtt", "--by", "at", "--json").output)["keys"]
    assert list(shapes) == [expected]


def test_an_answer_that_cannot_be_written_is_said(tmp_path) -> None:
    path = tmp_path / "one.txt"
    path.write_text("1\n")
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            [sys.executable, "-m", "netslo", "quantiles", str(path)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == "netslo: cannot write: [Errno 28] No space left on device\n"
