"""`netslo measure bandwidth` as a person and a script meet it."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from click.testing import CliRunner, Result

from netslo.errors import ConfigurationError, NetsloError
from netslo.model import Endpoint
from probes.bandwidth import cli
from probes.bandwidth.admission import ServerLimits
from probes.bandwidth.budget import Budget, BudgetExceeded
from probes.bandwidth.busy import BusyError
from probes.bandwidth.client import BandwidthClient, Refused, Unreachable
from probes.bandwidth.granting import KeptLeases
from probes.bandwidth.keeper import FileKeeper
from probes.bandwidth.measuring import BandwidthMeasuring, resolve_target
from probes.bandwidth.server import BandwidthServer
from probes.bandwidth.state import StateDirectory
from probes.cli import measure, reflect
from probes.reflector import ReflectorServer

KEY = b"0123456789abcdef"


@contextmanager
def serving(
    state: pathlib.Path, *, key: bytes | None = None, stamp: bool = False, rate: float = 200e6
) -> Iterator[str]:
    """A server that sends slowly enough for any machine, with a STAMP reflector if asked for."""
    stop = threading.Event()
    threads = []
    reflector = ReflectorServer([Endpoint("127.0.0.1", 0)], key=key) if stamp else None
    server = BandwidthServer(
        [Endpoint("127.0.0.1", 0)],
        key=key,
        limits=ServerLimits(bit_per_s=rate),
        leases=KeptLeases(FileKeeper(StateDirectory(state))),
        stamp_port=None if reflector is None else reflector.endpoints[0].port,
    )
    for each in (reflector, server):
        if each is not None:
            threads.append(threading.Thread(target=each.run, args=(stop,)))
            threads[-1].start()
    try:
        yield str(server.endpoints[0])
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)


def run(state: pathlib.Path, *arguments: str) -> Result:
    return CliRunner().invoke(measure, ("bandwidth", *arguments, "--state", str(state)))


@pytest.fixture
def near(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "near"


@pytest.fixture
def far(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "far"


TCP = ("--seconds", "1.5", "--octets", "60MB")


def test_the_json_has_the_agreed_shape(near: pathlib.Path, far: pathlib.Path) -> None:
    with serving(far, stamp=True) as target:
        result = run(near, target, "--direction", "reverse", *TCP, "--json")
    assert result.exit_code == 0, result.exception
    shape = json.loads(result.stdout)
    assert shape["method"] == "tcp"
    assert shape["address"] == target
    assert shape["octets_reserved"] == 60_000_000
    (found,) = shape["directions"]
    assert (found["direction"], found["why"]) == ("reverse", None)
    assert found["bit_per_s"] == found["throughput"]["goodput_bit_per_s"] > 0
    assert found["capacity"] is None  # its octets were given, so trains were not needed
    assert found["throughput"]["octets"] <= 60_000_000
    latency = found["loaded_latency"]
    assert latency["by"] == "stamp"
    assert latency["idle"]["count"] > 0
    assert latency["idle"]["quantiles"]["0.5"]["value"] > 0
    assert found["ended"] > found["began"]
    assert "about to use 60 MB" in result.stderr


def test_a_person_reads_it_and_the_budget_is_charged(near: pathlib.Path, far: pathlib.Path) -> None:
    with serving(far) as target:
        result = run(near, target, "--direction", "reverse", *TCP)
    assert result.exit_code == 0, result.exception
    for word in (
        f"bandwidth to {target}, TCP\nreverse (from there to here)\n",
        "goodput",
        "of TCP payload",
        "congestion control",
        "idle RTT",
        "by requests on the control channel, timestamps of class C",
        "used",
    ):
        assert word in result.stdout, result.stdout
    budget = CliRunner().invoke(measure, ("budget", "--state", str(near), "--json"))
    today = json.loads(budget.stdout)["today"]
    assert 0 < today["used"] <= 60_000_000
    assert today["reserved"] == 0
    assert [who.startswith("shell of ") for who in today["by"]] == [True]


def test_trains_say_what_they_take_before_they_leave(near: pathlib.Path, far: pathlib.Path) -> None:
    with serving(far) as target:
        result = run(near, target, "--method", "train", "--trains", "5")
    assert "about to use 554.2 kB" in result.stderr
    # Over loopback there may be no figure: then it says why.
    if result.exit_code:
        assert isinstance(result.exception, NetsloError)
        assert result.exception.exit_code == 1
        assert "no figure" in str(result.exception)
    assert "packet trains\nforward (from here to there)\n  capacity" in result.stdout


def test_more_than_the_budget_needs_force(near: pathlib.Path, far: pathlib.Path) -> None:
    with serving(far) as target:
        few = ("--budget", "1MB", "--no-latency", "--direction", "reverse", *TCP)
        result = run(near, target, *few)
        assert isinstance(result.exception, BudgetExceeded)
        assert result.exception.exit_code == 1
        assert "--force goes beyond" in str(result.exception)
        assert not result.stdout
        while isinstance((result := run(near, target, *few, "--force")).exception, BusyError):
            time.sleep(0.1)  # the lease ends when the queues have drained
        assert result.exit_code == 0, result.exception


def test_a_busy_far_end_is_bad_news(near: pathlib.Path, far: pathlib.Path) -> None:
    with serving(far) as target:
        host, port = target.split(":")
        with BandwidthClient(resolve_target(Endpoint(host, int(port)))) as other:
            other.begin(30, ("elsewhere",), "somebody")
            result = run(near, target, "--method", "train")
        assert isinstance(result.exception, BusyError)
        assert result.exception.exit_code == 1
        assert "somebody" in str(result.exception)


def test_the_key_of_both_sides(near: pathlib.Path, far: pathlib.Path, tmp_path) -> None:
    file = tmp_path / "key"
    file.write_bytes(KEY)
    file.chmod(0o600)
    with serving(far, key=KEY, stamp=True) as target:
        assert isinstance(run(near, target, "--method", "train").exception, Refused)
        options = ("--direction", "reverse", *TCP, "--key-file", str(file), "--json")
        result = run(near, target, *options)
    assert result.exit_code == 0, result.exception
    (found,) = json.loads(result.stdout)["directions"]
    assert found["loaded_latency"]["by"] == "stamp"
    assert found["loaded_latency"]["idle"]["count"] > 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("host:0",), "port 0"),
        (("[::1",), "ADDRESS"),
        (("host", "--method", "train", "--octets", "1MB"), "--octets"),
        (("host", "--method", "iperf3", "--key-file", "x"), "--key-file"),
        (("127.0.0.1:1", "--congestion", "no such name"), "--congestion"),
        (("127.0.0.1:1", "--octets", "100kB"), "expected 548 kB to "),
        (("127.0.0.1:1", "--octets", "9999TB"), "--octets"),
        (("host.invalid",), "does not resolve"),
    ],
)
def test_wrong_arguments_are_a_usage_error(
    near: pathlib.Path, arguments: tuple[str, ...], said: str
) -> None:
    result = run(near, *arguments)
    assert isinstance(result.exception, ConfigurationError)
    assert said in str(result.exception)


def test_a_length_that_is_no_number_is_a_usage_error(near: pathlib.Path) -> None:
    result = run(near, "127.0.0.1:1", "--seconds", "nan")
    assert result.exit_code == 2
    assert "--seconds" in result.output
    assert "nan" in result.output


def test_a_state_folder_that_cannot_be_is_a_usage_error() -> None:
    result = run(pathlib.Path("/proc/nope"), "127.0.0.1:1", "--method", "train")
    assert isinstance(result.exception, ConfigurationError)
    assert "/proc/nope: state folder" in str(result.exception)


@pytest.mark.parametrize(
    "arguments",
    [("--seconds", "0"), ("--streams", "99"), ("--octets", "much"), ("--budget", "-1MB"), ()],
)
def test_values_out_of_range_are_a_usage_error(
    near: pathlib.Path, arguments: tuple[str, ...]
) -> None:
    target = ("127.0.0.1:1",) if arguments else ()
    assert run(near, *target, *arguments).exit_code == 2


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("no-such-host.invalid:8862", "tests on no-such-host.invalid:8862: "),
        ("192.0.2.9:8862", "192.0.2.9:8862: the address is not one of this host"),
        ("127.0.0.1:99999", "port 99999, expected 0 to 65535"),
        ("127.0.0.1:8620", "UDP port 8620 answers STAMP already"),
    ],
)
def test_a_server_says_what_is_wrong_with_its_address_before_it_answers_anything(
    near: pathlib.Path, address: str, why: str
) -> None:
    where = ("--listen", "127.0.0.1:8620", "--bandwidth", address, "--state", str(near))
    result = CliRunner().invoke(reflect, where)
    assert isinstance(result.exception, ConfigurationError)  # exit status 2
    assert why in str(result.exception)
    assert not result.output


def test_nobody_there_is_bad_news(near: pathlib.Path) -> None:
    result = run(near, "127.0.0.1:1", "--method", "train")
    assert isinstance(result.exception, Unreachable)
    assert "netslo reflect --bandwidth" in str(result.exception)


def test_a_terminated_test_gives_its_lease_back(
    near: pathlib.Path, far: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_until_told(measuring: BandwidthMeasuring, *, live: bool) -> None:
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
        run_really(measuring, live=live)

    run_really = cli._run
    with serving(far) as server:
        with monkeypatch.context() as patch:
            patch.setattr(cli, "_run", run_until_told)
            long = ("--direction", "reverse", "--seconds", "30", "--octets", "700MB")
            ended = run(near, server, *long, "--no-latency")  # some 28 s, as the server sends
            assert "stopped" in ended.output, ended.output
        result = run(near, server, *TCP, "--no-latency")
    assert not isinstance(result.exception, BusyError)
    assert "used" in result.output, result.output  # whether it has a figure, the machine decides


def test_what_was_refused_before_it_began_costs_nothing(
    near: pathlib.Path, far: pathlib.Path
) -> None:
    with serving(far) as target:
        result = run(near, target, "--no-latency", "--seconds", "60", "--octets", "90MB")
    assert isinstance(result.exception, Refused)
    assert "at most 30 s" in str(result.exception)
    assert Budget(StateDirectory(near)).today().spent == 0
