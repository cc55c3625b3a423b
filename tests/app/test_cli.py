"""The door: quick, friendly, and never a traceback for what a user did."""

import json
import os
import pathlib
import socket
import subprocess
import sys
import textwrap
import tomllib

import click
import pytest

from netslo.app import cli

ROOT = pathlib.Path(__file__).parents[2]

COMMANDS = [
    ["demo"],
    ["up"],
    ["probe"],
    ["reflect"],
    ["collect"],
    ["measure"],
    ["measure", "rtt"],
    ["quantiles"],
    ["estate"],
    ["estate", "check"],
    ["estate", "show"],
    ["slo"],
    ["slo", "check"],
    ["slo", "status"],
    ["slo", "rules"],
    ["slo", "alertmanager"],
    ["doctor"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_its_help(netslo, command) -> None:
    done = netslo(*command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: netslo " + " ".join(command))
    assert not done.stderr


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    code = """
        import sys
        from netslo.app.cli import main
        sys.argv = ["netslo", "--help"]
        try:
            main()
        finally:
            heavy = {"numpy", "pydantic", "rich", "aiohttp", "yaml", "numba"} & set(sys.modules)
            print("HEAVY", sorted(heavy))
    """
    done = subprocess.run(
        [sys.executable, "-P", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "HEAVY []" in done.stdout
    for command in {words[0] for words in COMMANDS}:
        assert f"\n  {command} " in done.stdout


BLOCKED = """
    import sys

    class Missing:
        def find_spec(self, name, path=None, target=None):
            if any(name == m or name.startswith(m + ".") for m in {missing!r}):
                raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

    sys.meta_path.insert(0, Missing())
    from netslo.app.cli import main
    sys.argv = ["netslo", *{arguments!r}]
    main()
"""


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["collect", "-c", "examples/uk", "--listen", "127.0.0.1:0"], "analytics"),
        (["probe", "-c", "examples/uk", "--site", "london"], "probe"),
        (["demo"], "all"),
        (["up", "-c", "examples/uk"], "all"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else value,
)
def test_without_its_extra_a_command_says_what_to_install(arguments, extra, tmp_path) -> None:
    missing = {"aiohttp", "opentelemetry", "zstandard", "prometheus_client", "tenacity", "numba"}
    code = textwrap.dedent(BLOCKED).format(missing=missing, arguments=arguments)
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=os.environ.get("PYTEST_ROOT", "."),
    )
    assert done.returncode == 2, done.stderr
    assert f"pip install 'netslo[{extra}]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["estate", "check", "-c", "examples/uk"],
        ["quantiles", "-"],
        ["slo", "check", "-c", "examples/uk"],
    ],
    ids=lambda a: a[0],
)
def test_the_base_install_checks_files_and_computes_quantiles(arguments) -> None:
    missing = {"aiohttp", "opentelemetry", "google", "zstandard", "prometheus_client", "scapy"}
    code = textwrap.dedent(BLOCKED).format(missing=missing, arguments=arguments)
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        input="1\n2\n3\n",
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "others"),
    [
        (
            [
                "collect",
                "-c",
                "examples/uk",
                "--listen",
                "127.0.0.1:0",
                "--store",
                "{tmp}/s.sqlite",
            ],
            {"opentelemetry.sdk", "opentelemetry.exporter", "tenacity", "scapy", "grafanalib"},
        ),
        (
            ["probe", "-c", "examples/uk", "--site", "london", "--spool", "{tmp}/spool"],
            {"prometheus_client", "grafanalib"},
        ),
    ],
    ids=["collect", "probe"],
)
def test_a_part_runs_on_its_own_extra_alone(tmp_path, arguments, others) -> None:
    arguments = [argument.format(tmp=tmp_path) for argument in arguments]
    code = textwrap.dedent(BLOCKED).format(missing=others, arguments=arguments)
    with subprocess.Popen(
        [sys.executable, "-P", "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as part:
        assert part.stdout is not None
        line = part.stdout.readline()
        part.terminate()
        _, errors = part.communicate(timeout=300)
    assert "listening on" in line or "measuring 16 paths" in line, errors
    assert part.returncode == 0, errors


def test_a_missing_module_of_ours_is_our_mistake_and_keeps_its_traceback() -> None:
    arguments = ["collect", "-c", "examples/uk"]
    code = textwrap.dedent(BLOCKED).format(missing={"analytics"}, arguments=arguments)
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr


BAD_USE = {
    "an unknown command": (["fly"], 2, "No such command"),
    "an unknown option": (["demo", "--fast"], 2, "No such option"),
    "too short a demo": (["demo", "--duration", "3"], 2, "30"),
    "no estate": (["estate", "check", "-c", "{tmp}"], 2, "no such file"),
    "no folder": (["collect", "-c", "{tmp}/none"], 2, "no such file"),
    "an unknown site": (["probe", "-c", "examples/uk", "--site", "paris"], 2, "it has london"),
    "no site": (["probe", "-c", "examples/uk"], 2, "--site"),
    "an address without port": (["collect", "--listen", "localhost:"], 2, "no port"),
    "a collector that is no URL": (
        ["probe", "-c", "examples/uk", "--site", "london", "--collector", "ftp://x"],
        2,
        "http://HOST:PORT",
    ),
    "an unresolvable host": (["measure", "rtt", "no.such.host.invalid"], 2, "no.such.host.invalid"),
    "a store that is not there": (
        ["slo", "status", "-c", "examples/uk", "--store", "{tmp}/none.sqlite"],
        2,  # 1 would be that an alert fires
        "no such store",
    ),
    "a store in no folder": (
        ["collect", "-c", "examples/uk", "--store", "{tmp}/none/x.sqlite"],
        2,
        "does not exist",
    ),
    "an address of somebody else": (
        ["collect", "-c", "examples/uk", "--store", "{tmp}/s.sqlite", "--listen", "192.0.2.1:4318"],
        1,
        "192.0.2.1:4318",
    ),
    "a folder where a file is due": (["quantiles", "{tmp}"], 2, "cannot be read"),
}


@pytest.mark.parametrize(("arguments", "status", "text"), BAD_USE.values(), ids=BAD_USE.keys())
def test_bad_use_is_one_message_and_an_exit_status(netslo, tmp_path, arguments, status, text):
    done = netslo(*(argument.format(tmp=tmp_path) for argument in arguments))
    assert done.returncode == status, done.stderr
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_ports_in_use_are_named(netslo, tmp_path) -> None:
    with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        udp.bind(("127.0.0.1", 0))
        collector = f"127.0.0.1:{tcp.getsockname()[1]}"
        reflector = f"127.0.0.1:{udp.getsockname()[1]}"
        store = ["--store", tmp_path / "s.sqlite"]
        for address, done in (
            (collector, netslo("collect", "-c", "examples/uk", "--listen", collector, *store)),
            (reflector, netslo("reflect", "--listen", reflector)),
        ):
            assert done.returncode == 1
            assert address in done.stderr
            assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_named(netslo, tmp_path) -> None:
    tmp_path.chmod(0o500)
    done = netslo("collect", "-c", "examples/uk", "--store", tmp_path / "s.sqlite")
    assert done.returncode == 1
    assert str(tmp_path) in done.stderr


def test_estate_show_prints_what_the_file_says(netslo) -> None:
    shown = json.loads(netslo("estate", "show", "-c", "examples/uk", "--json").stdout)
    assert len(shown["sites"]) == 9
    assert len(shown["paths"]) == 144
    said = netslo("estate", "show", "-c", "examples/uk").stdout
    assert "london" in said
    assert "Routes: 4 flows of each path by UDP, every 5m and when something changes" in said


def test_estate_check_lists_problems_as_json(netslo, tmp_path) -> None:
    assert (
        json.loads(netslo("estate", "check", "-c", "examples/uk", "--json").stdout)["problems"]
        == []
    )
    (tmp_path / "estate.yaml").write_text("version: 2\n")
    done = netslo("estate", "check", "-c", tmp_path, "--json")
    assert done.returncode == 2
    problems = json.loads(done.stdout)["problems"]
    assert {"file", "line", "field", "value", "expected"} == problems[0].keys()
    assert "version" in {problem["field"] for problem in problems}


def test_doctor_tries_things_and_says_so(netslo) -> None:
    done = netslo("doctor", "--json", "--seconds", "0.2")
    shape = json.loads(done.stdout)
    findings = {f["what"]: f for f in shape["findings"]}
    assert findings["kernel receive timestamps"]["good"]
    assert 0 < findings["noise floor"]["figures"]["0.5"] < 0.1
    assert done.returncode == (0 if shape["able"] else 1)
    assert "netslo[probe]" in netslo("doctor", "--seconds", "0.2").stdout


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["estate", "--help"], ["estate", "show", "-c", "examples/uk", "--json"]],
    ids=" ".join,
)
def test_a_reader_that_goes_away_is_neither_good_nor_bad_news(arguments) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "netslo", *arguments],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert done.returncode == 141
    assert not done.stderr


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-"])
def test_a_closed_standard_output_is_said_not_a_traceback(closed, tmp_path) -> None:
    path = tmp_path / "numbers.txt"
    path.write_text("1\n2\n")
    command = f'exec "$0" -P -m netslo quantiles "$1" {closed}'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, path], stderr=subprocess.PIPE, text=True, check=False
    )
    assert done.returncode == 2
    told = "netslo: cannot write: standard output is closed\n"
    assert done.stderr == ("" if "2>" in closed else told)


def test_a_missing_module_without_a_name_keeps_its_traceback() -> None:
    entry = cli._COMMANDS["demo"]
    with pytest.raises(ModuleNotFoundError, match="odd"):
        cli._explain_missing("demo", entry, ModuleNotFoundError("odd"))


@pytest.mark.parametrize("name", cli._COMMANDS)
def test_every_command_names_an_extra_that_exists(name) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert cli._COMMANDS[name].extra in project["optional-dependencies"]


def every_option(command: click.Command, words: tuple[str, ...] = ()):
    """Yield the words that call each command, and each of its options."""
    context = click.Context(command)
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            yield words, parameter
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            yield from every_option(command.get_command(context, name), (*words, name))


def test_no_option_takes_nan_for_a_number() -> None:
    numbers = {
        (*words, option.opts[0]): option.type
        for words, option in every_option(cli.cli)
        if isinstance(option.type, click.types.FloatParamType)
    }
    assert ("quantiles", "--sort") in numbers
    for words, kind in numbers.items():
        with pytest.raises(click.BadParameter):
            kind.convert("nan", None, None)
            pytest.fail(f"{words} takes nan")
