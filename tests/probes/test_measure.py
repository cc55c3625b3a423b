"""`measure rtt` and `reflect` from the shell, on loopback."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest
from click.testing import CliRunner

from netslo.errors import ConfigurationError, NetsloError
from netslo.model import Endpoint
from probes.cli import measure, reflect
from probes.measure import MeasurePlan, Measuring
from probes.reflector import ReflectorServer


@contextmanager
def reflecting(host="127.0.0.1"):
    server, stop = ReflectorServer([Endpoint(host, 0)]), threading.Event()
    thread = threading.Thread(target=server.run, args=(stop,))
    thread.start()
    try:
        yield server.endpoints[0]
    finally:
        stop.set()
        thread.join(5)


def closed_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def run(*arguments: str):
    return CliRunner().invoke(measure, ["rtt", *arguments], catch_exceptions=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_json_has_the_agreed_shape_and_adds_up(host):
    with reflecting(host) as endpoint:
        result = run(str(endpoint), "--count", "30", "--interval", "2ms", "--json")
    assert result.exit_code == 0, result.exception
    shape = json.loads(result.stdout)
    assert shape["target"] == str(endpoint)
    assert shape["kind"] == "stamp"
    assert shape["due"] == 30
    assert shape["due"] == shape["answered"] + shape["lost"] + shape["unmeasured"]
    assert sum(shape["quality"].values()) == shape["answered"]
    assert shape["quality"]["A"] >= 25  # nobody follows up the last one
    assert shape["rtt"]["count"] == shape["jitter"]["pdv"]["count"] == shape["quality"]["A"]
    quantiles = shape["rtt"]["quantiles"]
    assert list(quantiles) == ["0.5", "0.9", "0.99", "0.999"]
    assert 0 < shape["rtt"]["min"] <= quantiles["0.5"]["value"] <= shape["rtt"]["max"] < 1
    assert quantiles["0.999"]["high"] is None  # 30 packets cannot bound it
    assert shape["jitter"]["rfc3550"] >= 0
    assert {"duplicates", "reordered"} <= shape.keys()


def test_the_summary_says_what_a_person_wants_to_know():
    with reflecting() as endpoint:
        result = run(str(endpoint), "--duration", "100ms", "--interval", "2ms")
    assert result.exit_code == 0, result.exception
    assert f"STAMP to {endpoint}" in result.stdout
    assert "50 due, 50 answered, 0 lost (0.00 %)" in result.stdout
    for word in ("p50", "p90", "p99", "p99.9", "95 % interval", "jitter (RFC 3550)"):
        assert word in result.stdout


def test_a_port_where_nothing_listens_is_said_and_is_bad_news():
    result = run(
        f"127.0.0.1:{closed_port()}", "--count", "3", "--interval", "5ms", "--timeout", "50ms"
    )
    assert isinstance(result.exception, NetsloError)
    assert result.exception.exit_code == 1
    assert "nothing listens on UDP" in str(result.exception)
    assert "3 due, 0 answered, 3 lost (100.00 %)" in result.stdout


def test_silence_is_bad_news_too_and_json_has_null_where_nothing_is_known():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{silent.getsockname()[1]}"
        result = run(target, "--count", "2", "--interval", "5ms", "--timeout", "50ms", "--json")
    assert isinstance(result.exception, NetsloError)
    assert "firewall" in str(result.exception)
    shape = json.loads(result.stdout)
    assert shape["lost"] == 2
    assert shape["rtt"]["quantiles"]["0.5"] == {"value": None, "low": None, "high": None}
    assert shape["jitter"]["rfc3550"] is None


def test_a_target_that_cannot_be_sent_to_is_unmeasured():
    result = run("255.255.255.255:862", "--count", "2", "--interval", "2ms")
    assert "2 unmeasured" in result.stdout
    assert "(-)" in result.stdout  # no loss can be said
    assert "no packet could be sent" in str(result.exception)


MISTAKES = {
    "a name that does not resolve": (["a..b"], "a..b does not resolve"),
    "an address of the other family": (
        ["127.0.0.1", "-6"],
        "does not resolve to an address of IPv6",
    ),
    "no host": ([":862"], "has no host"),
    "port 0": (["127.0.0.1:0"], "port 0"),
    "a port too large": (["127.0.0.1:70000"], "expected 0 to 65535"),
    "a count and a duration": (["::1", "--count", "1", "--duration", "1s"], "exclude each other"),
    "a flood": (["::1", "--interval", "0.1ms"], "10000 packets a second in all, at most 1000;"),
    "a flood by many": (["::1"] * 20 + ["--interval", "10ms"], "2000 packets a second in all"),
    "too much of a flood": (["::1", "--flood", "--interval", "0.001ms"], "at most 100000"),
}


@pytest.mark.parametrize(("arguments", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_named_and_nothing_is_sent(arguments, message):
    result = run(*arguments)
    assert isinstance(result.exception, ConfigurationError)
    assert message in str(result.exception)


@pytest.mark.parametrize(
    "option", [["--interval", "-1s"], ["--timeout", "5"], ["--dscp", "64"], ["--count", "0"]]
)
def test_a_bad_option_is_a_usage_error(option):
    assert run("::1", *option).exit_code == 2


def test_a_fault_in_the_engine_is_not_swallowed(monkeypatch):
    measuring = Measuring(MeasurePlan((Endpoint("127.0.0.1", closed_port()),), count=1))

    def fault() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(measuring._engine, "run", fault)
    with pytest.raises(ZeroDivisionError):
        measuring.run(lambda: None)


def start(command: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a command as a process of its own, so that it can be sent signals."""
    program = f"import probes.cli as c; c.{command}(standalone_mode=False)"
    return subprocess.Popen(
        [sys.executable, "-u", "-c", program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_reflector_says_where_it_listens_and_what_it_did_and_ends_at_a_signal(number):
    with start(
        "reflect", "--listen", "127.0.0.1:0", "--listen", "[::1]:0", "--stateless"
    ) as process:
        first, second = process.stdout.readline(), process.stdout.readline()
        port = int(re.fullmatch(r"answering STAMP on 127\.0\.0\.1:(\d+), UDP\n", first)[1])
        assert re.fullmatch(r"answering STAMP on \[::1\]:\d+, UDP\n", second)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"garbage", ("127.0.0.1", port))
        assert run(f"127.0.0.1:{port}", "--count", "5", "--interval", "1ms").exit_code == 0
        process.send_signal(number)
        rest = process.stdout.read()
        assert process.wait(10) == 0
    assert rest.startswith("5 packets answered, 1 discarded\n")
    assert "shorter than" in rest


def test_ctrl_c_ends_a_measurement_with_its_summary():
    with (
        reflecting() as endpoint,
        start("measure", "rtt", str(endpoint), "--duration", "1h", "--json") as process,
    ):
        wait_until_connected(endpoint, process)
        process.send_signal(signal.SIGINT)
        shape = json.loads(process.stdout.read())
        assert process.wait(10) == 0
    assert 1 <= shape["answered"] < 100
    assert shape["due"] == shape["answered"]


def wait_until_connected(endpoint: Endpoint, process: subprocess.Popen[str]) -> None:
    """Wait until the process has a socket connected to the endpoint."""
    wanted = f":{endpoint.port:04X}"
    for _ in range(1000):
        table = pathlib.Path("/proc/net/udp").read_text()
        if any(line.split()[2].endswith(wanted) for line in table.splitlines()[1:]):
            return
        try:
            process.wait(0.02)
        except subprocess.TimeoutExpired:
            continue
        break
    raise AssertionError("it never began")


def test_a_reflector_whose_port_is_taken_tells_so():
    with ReflectorServer([Endpoint("127.0.0.1", 0)]) as server:
        result = CliRunner().invoke(reflect, ["--listen", str(server.endpoints[0])])
    assert isinstance(result.exception, NetsloError)
    assert "taken by another program" in str(result.exception)


def test_help_imports_nothing_heavy():
    program = (
        "import sys, probes.cli\n"
        "heavy = {'numpy', 'rich', 'pydantic', 'analytics', 'aiohttp'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or None)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
