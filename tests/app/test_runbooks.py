"""Every command of every runbook is run as it stands there, with names put in: none may rot."""

from __future__ import annotations

import json
import pathlib
import re
import shlex
import shutil
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing

import click
import pytest
import trustme
from click.testing import CliRunner
from real_prometheus import alertmanager, run
from some_services import hanging, server_context, serving

from analytics.store.sqlite import SqliteStore
from analytics.windows import Batch, PathWindow, SeriesKey, SloCounts
from netslo.app.cli import cli
from netslo.config.estate_file import load_estate
from netslo.errors import NetsloError
from netslo.model import Path, Window
from slo.spec import load_objectives

ROOT = pathlib.Path(__file__).parents[2]
RUNBOOKS = sorted((ROOT / "docs" / "runbooks").glob("*.md"))
NAMES = {"SLO": "national-latency", "SRC:DST/CLASS": "london:leeds/ef", "SITE": "leeds"}
# These run until they are stopped; they have tests of their own.
SERVICES = ("netslo collect", "netslo probe")
# A prober is too late for a packet that is an interval overdue: on a busy machine that is soon.
BRIEF = {"netslo measure rtt": ["--count", "3", "--interval", "500ms", "--no-floor"]}


def commands(runbook: pathlib.Path) -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", runbook.read_text(), re.DOTALL)
    return [
        line.removeprefix("$ ")
        for block in blocks
        for line in block.splitlines()
        if line.startswith("$ ")
    ]


def filled(command: str, names: dict[str, str]) -> list[str]:
    for placeholder in sorted(names, key=len, reverse=True):
        command = re.sub(rf"(?<![\w-]){re.escape(placeholder)}\b", names[placeholder], command)
    return shlex.split(command)


@pytest.fixture
def config(tmp_path, monkeypatch) -> Iterator[pathlib.Path]:
    """The example as the current directory, with a store, rules and routes."""
    folder = tmp_path / "uk"
    shutil.copytree(ROOT / "examples" / "uk", folder)
    monkeypatch.chdir(folder)
    (folder / "netslo-data").mkdir()
    now_s = time.time()
    with closing(SqliteStore.open(folder / "netslo-data" / "store.sqlite")) as store:
        objectives = load_objectives(folder, load_estate(folder))
        store.declare_objectives({o.name: o.target_text for o in objectives}, now_s - 86_400)
        window = PathWindow(
            SeriesKey(Path.parse(NAMES["SRC:DST/CLASS"])),
            Window.containing(int(now_s - 60) * 10**9),
            slo={NAMES["SLO"]: SloCounts(45, 5)},
        )
        store.append(Batch("london", "test", 1, (window,)), now_s)
    return folder


def test_every_command_of_every_runbook_works(config, start, monkeypatch) -> None:
    assert len(RUNBOOKS) == 8
    collector = start("collect", "--listen", "127.0.0.1:0", "-c", config)
    reflector = start("reflect", "--listen", "127.0.0.1:0")
    url = collector.wait_for(r"http://(\S+:\d+)")[1]
    names = {**NAMES, "COLLECTOR:4318": url}
    names["HOST:PORT"] = reflector.wait_for(r"(127\.0\.0\.1:\d+)")[1]
    assert netslo(["slo", "rules", "-o", "."]).exit_code == 0
    assert netslo(["slo", "alertmanager", "-o", "alertmanager.yml"]).exit_code == 0
    faults: list[str] = []
    ran: set[str] = set()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(config / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(config / "authority.pem"))
    with (
        alertmanager(config, config / "alertmanager.yml") as manager,
        serving(hanging, server_context(authority, "localhost")) as service,
    ):
        names["SERVICE:443"] = f"localhost:{service}"
        names["ALERTMANAGER:9093"] = manager.url.removeprefix("http://")
        names["FILE"] = str(config / "netslo-data" / "store.sqlite")
        for runbook in RUNBOOKS:
            found = commands(runbook)
            assert found, f"{runbook.name} has no commands"
            for command in found:
                if command in ran:
                    continue
                ran.add(command)
                fault = try_out(command, filled(command, names))
                if fault:
                    faults.append(f"{runbook.name}: {command}: {fault}")
    assert not faults
    assert {command.split()[0] for command in ran} == {"netslo", "curl", "promtool", "amtool"}


def try_out(command: str, words: list[str]) -> str:
    """Return what is wrong with a command."""
    program, *arguments = words
    if program == "curl":
        assert arguments[:-1] == ["-s"]
        with urllib.request.urlopen(arguments[-1], timeout=60) as answer:
            json.load(answer)
        return ""
    if program != "netslo":
        done = run(program, *arguments)
        return "" if done.returncode == 0 else done.stdout + done.stderr
    if command.startswith(SERVICES):
        return parsed(arguments)
    more = next((more for start, more in BRIEF.items() if command.startswith(start)), [])
    done = netslo([*arguments, *more])
    if done.exit_code in (0, 1) and (done.exception is None or done.exit_code == 1):
        return "" if not isinstance(done.exception, NetsloError) else str(done.exception)
    return f"exit {done.exit_code}: {done.output}{done.exception}"


def netslo(arguments: list[str]):
    return CliRunner().invoke(cli, arguments)


def parsed(arguments: list[str]) -> str:
    """Return what is wrong with the arguments of a command that would run for ever."""
    name, *rest = arguments
    with click.Context(cli) as above:
        command = cli.get_command(above, name)
        try:
            command.make_context(name, rest, parent=above)
        except click.UsageError as error:
            return error.format_message()
    return ""


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("netslo slo explain --slo SLO", "No such option"),
        ("netslo probe", "Missing option"),
        ("netslo collect --stor FILE", "No such option"),
        ("netslo slo status --slo nobody", "nobody"),
    ],
)
def test_a_command_that_does_not_exist_is_found(config, command, fault) -> None:
    assert fault in try_out(command, filled(command, NAMES))
