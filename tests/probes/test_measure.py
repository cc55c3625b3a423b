"""`measure rtt` and `reflect` from the shell, on loopback."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from ports import free_udp_port

from analytics.sketch import Sketch
from analytics.windows import PathWindow, SeriesKey, SketchKey
from netslo.errors import ConfigurationError, NetsloError
from netslo.metrics import JITTER, RTT
from netslo.model import Endpoint, Path, ProbeKind, Quality, Window
from probes.address import SocketAddress
from probes.cli import measure, reflect
from probes.instant import Instant
from probes.measure import MeasurePlan, Measuring
from probes.measure_view import print_measurements
from probes.measurement import Flow, Measurement, Measurements
from probes.noise_floor import Figure, NoiseFloor
from probes.reflector import ReflectorServer
from probes.session import Session, SessionPlan


@contextmanager
def serving(host="127.0.0.1", key=None):
    server, stop = ReflectorServer([Endpoint(host, 0)], key=key), threading.Event()
    thread = threading.Thread(target=server.run, args=(stop,))
    thread.start()
    try:
        yield server
    finally:
        stop.set()
        thread.join(60)


@contextmanager
def reflecting(*arguments, **options):
    with serving(*arguments, **options) as server:
        yield server.endpoints[0]


pytestmark = [pytest.mark.usefixtures("patient"), pytest.mark.waits]
PATIENCE_S = 2.0  # a measurement takes so long at least: it waits for duplicates


def run(*arguments: str, floor: str = "--no-floor"):
    """Measure; who does not say when a packet is lost waits as long as a busy machine needs."""
    if "--timeout" not in arguments:
        arguments = (*arguments, "--timeout", f"{PATIENCE_S:g}s")
    return CliRunner().invoke(measure, ["rtt", floor, *arguments], catch_exceptions=True)


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
    # Of one class only, that of most: on a busy host no follow-up may find a reply to ride on (B).
    most = max(shape["quality"].values())
    assert shape["rtt"]["count"] == shape["jitter"]["pdv"]["count"] == most
    quantiles = shape["rtt"]["quantiles"]
    assert list(quantiles) == ["0.5", "0.9", "0.99", "0.999"]
    assert 0 < shape["rtt"]["min"] <= quantiles["0.5"]["value"] <= shape["rtt"]["max"] < PATIENCE_S
    assert quantiles["0.999"]["high"] is None  # 30 packets cannot bound it
    assert shape["jitter"]["rfc3550"] >= 0
    assert {"duplicates", "reordered"} <= shape.keys()


@pytest.mark.usefixtures("device_stamps_used")
def test_asked_for_a_devices_timestamps_the_kernel_gives_its_own_where_there_is_none():
    with reflecting() as endpoint:
        result = run(str(endpoint), "--count", "50", "--interval", "2ms", "--json")
    assert result.exit_code == 0, result.exception
    shape = json.loads(result.stdout)
    assert shape["quality"]["A"] + shape["quality"]["B"] == shape["answered"] > 0
    assert 0 < shape["rtt"]["min"] < 1


def test_the_summary_says_what_a_person_wants_to_know():
    with reflecting() as endpoint:
        result = run(str(endpoint), "--duration", "100ms", "--interval", "2ms")
    assert result.exit_code == 0, result.exception
    assert f"STAMP to {endpoint}" in result.stdout
    assert re.search(r"50 due, \d+ answered, 0 lost \(0.00 %\)", result.stdout)
    for word in ("p50", "p90", "p99", "p99.9", "95 % interval", "jitter (RFC 3550)", "█"):
        assert word in result.stdout
    # A follow-up may come after the last reply that could have carried it: then it is class B.
    assert re.search("timestamps of class [AB]: ", result.stdout)


def test_a_port_where_nothing_listens_is_said_and_is_bad_news():
    result = run(
        f"127.0.0.1:{free_udp_port()}", "--count", "3", "--interval", "5ms", "--timeout", "50ms"
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
    result = run("[fe80::1%lo]:862", "--count", "2", "--interval", "2ms")  # no route leads there
    assert "2 unmeasured" in result.stdout
    assert "(-)" in result.stdout  # no loss can be said
    assert "no packet could be sent" in str(result.exception)


def test_packets_leave_from_several_ports_in_turn_and_each_flow_has_its_figures():
    with reflecting() as endpoint:
        result = run(
            *(str(endpoint), "--source-ports", "3", "--count", "20", "--interval", "2ms", "--json")
        )
        plain = run(str(endpoint), "--source-ports", "3", "--count", "20", "--interval", "2ms")
    shape = json.loads(result.stdout)
    flows = shape["flows"]
    assert (shape["due"], shape["answered"]) == (20, 20)
    assert [flow["due"] for flow in flows] == [7, 7, 6]
    assert len({flow["source_port"] for flow in flows} - {None, 0}) == 3
    assert sum(flow["rtt"]["count"] for flow in flows) == shape["rtt"]["count"]
    assert max(flow["rtt"]["max"] for flow in flows) == shape["rtt"]["max"]
    assert shape["jitter"]["rfc3550"] is None  # the state of one flow is not that of another
    assert all(flow["jitter"]["rfc3550"] >= 0 for flow in flows)
    lines = plain.stdout.splitlines()
    first = next(n for n, line in enumerate(lines) if "source port" in line)
    assert [line.split()[1:3] for line in lines[first + 1 : first + 4]] == [
        ["7", "7"],
        ["7", "7"],
        ["6", "6"],
    ]


def test_the_plain_engine_knows_its_ports_too(monkeypatch):
    monkeypatch.setattr("probes.measure.fits_fast_engine", lambda plan: False)
    with reflecting() as endpoint:
        result = run(str(endpoint), "--source-ports", "2", "--count", "4", "--json")
    ports = {flow["source_port"] for flow in json.loads(result.stdout)["flows"]}
    assert len(ports - {None, 0}) == 2


def test_several_targets_have_a_line_and_a_shape_each():
    with reflecting() as one, reflecting() as two:
        arguments = (str(one), str(two), "--count", "5", "--interval", "2ms")
        result, plain = run(*arguments, "--json"), run(*arguments)
    shapes = json.loads(result.stdout)["targets"]
    assert [(shape["target"], shape["answered"]) for shape in shapes] == [
        (str(one), 5),
        (str(two), 5),
    ]
    for endpoint in (one, two):
        [line] = [
            line for line in plain.stdout.splitlines() if line.strip().startswith(str(endpoint))
        ]
        assert line.split()[1:4] == ["5", "5", "0.00"]
        assert "≥" in line  # five packets bound no p99


def test_an_address_in_brackets_is_no_markup_of_a_table(capsys):
    measurement = a_measurement(Quality.A)
    measurement.target = Endpoint("fe80::1", 862)
    measurement.address = SocketAddress(socket.AF_INET6, ("fe80::1", 862, 0, 2))
    print_measurements(Measurements([measurement, a_measurement(Quality.A)]))
    assert "[fe80::1]:862" in capsys.readouterr().out.replace("%2", "")


def test_with_the_same_key_at_both_ends_packets_are_authenticated(tmp_path):
    file = tmp_path / "key"
    file.write_bytes(b"sixteen octets..\n")
    file.chmod(0o600)
    with reflecting(key=b"sixteen octets..") as endpoint:
        arguments = (str(endpoint), "--count", "5", "--interval", "2ms")
        result = run(*arguments, "--key-file", str(file))
        arguments = (*arguments, "--timeout", "200ms")
        without = run(*arguments)
        file.write_bytes(b"seventeen octets..")
        other = run(*arguments, "--key-file", str(file))
    assert result.exit_code == 0, result.exception
    assert result.stdout.startswith(f"authenticated STAMP to {endpoint}\n5 due, 5 answered")
    assert "--key-file" in str(without.exception)
    assert "one with another key" in str(other.exception)


@pytest.mark.parametrize("key", [None, b"sixteen octets.."], ids=["plain", "authenticated"])
@pytest.mark.parametrize(
    ("size", "expected"), [(44, None), (1000, 1000), (8900, 8900)], ids=["less", "more", "jumbo"]
)
def test_packets_are_padded_to_the_size_asked_for(key, size, expected):
    plan = SessionPlan(SeriesKey(Path("a", "b", "ef")), 1, 1, secret=key, size=size)
    plain = Session(replace(plan, size=0), Instant(0, 0)).sender.send(Instant(0, 0))
    padded = Session(plan, Instant(0, 0)).sender.send(Instant(0, 0))
    assert len(padded) == (len(plain) if expected is None else expected)
    nearly = Session(replace(plan, size=len(plain) + 1), Instant(0, 0))
    assert len(nearly.sender.send(Instant(0, 0))) == len(plain) + 4  # no extension is shorter


def test_padded_packets_are_answered_in_class_a():
    with reflecting() as endpoint:
        arguments = ("--size", "1400", "--count", "10", "--interval", "2ms", "--json")
        result = run(str(endpoint), *arguments)
    shape = json.loads(result.stdout)
    assert shape["answered"] == 10
    # On a busy host a follow-up may come after the last reply that could have carried it.
    assert shape["quality"]["A"] > 0
    assert not shape["quality"]["C"]


def test_a_key_file_that_is_none_is_a_mistake_and_its_octets_are_not_told(tmp_path):
    file = tmp_path / "key"
    result = run("::1", "--key-file", str(file))
    assert isinstance(result.exception, ConfigurationError)
    file.write_bytes(b"too short")
    result = run("::1", "--key-file", str(file))
    assert str(file) in str(result.exception)
    assert "too short" not in str(result.exception)


A_FLOOR = NoiseFloor(
    seconds=2.0,
    rate=2000.0,
    compiled=True,
    due=4000,
    answered=4000,
    lost=0,
    unmeasured=0,
    samples={Quality.A: 4000},
    rtt={q: Figure(5.0, 4.0, 6.0) for q in ("0.5", "0.9", "0.99", "0.999")},
    lateness={},
    discarded={},
)


def test_a_figure_that_the_hosts_own_noise_could_explain_is_marked(monkeypatch):
    asked = []

    def measured(**options):
        asked.append(options)
        return A_FLOOR

    monkeypatch.setattr("probes.noise_floor.measure_noise_floor", measured)
    with reflecting() as endpoint:
        arguments = (str(endpoint), "--count", "60", "--interval", "2ms")
        result = run(*arguments, floor="--floor")
        shape = json.loads(run(*arguments, "--json", floor="--floor").stdout)
        assert len(asked) == 2
        unasked = json.loads(run(*arguments, "--json").stdout)
    assert len(asked) == 2
    assert re.search(r"p50 +[\d.]+ \*", result.stdout)
    assert "this host's noise floor: p50 5000.000, p99 5000.000" in result.stdout
    assert "* less than three times that floor" in result.stdout
    assert shape["could_be_floor"] == {"0.5": True, "0.9": True, "0.99": None, "0.999": None}
    assert shape["noise_floor"] == json.loads(json.dumps(A_FLOOR.to_json()))
    assert unasked["noise_floor"] is None
    assert set(unasked["could_be_floor"].values()) == {None}


def test_a_floor_that_cannot_be_measured_costs_the_figures_nothing(monkeypatch):
    def fail(**_):
        raise NetsloError("no loopback")

    monkeypatch.setattr("probes.noise_floor.measure_noise_floor", fail)
    with reflecting() as endpoint:
        result = run(str(endpoint), "--count", "3", "--interval", "2ms", floor="--floor")
    assert result.exit_code == 0
    assert "the noise floor is not known: no loopback" in result.stderr
    assert "noise floor" not in result.stdout


def a_measurement(quality: Quality, kind=ProbeKind.STAMP, *, leaving=True) -> Measurement:
    window = PathWindow(SeriesKey(Path("here", "0", "measure"), kind), Window(0))
    window.packets.answered = 10
    for metric in (RTT, JITTER):
        sketch = Sketch()
        sketch.add(np.linspace(0.01, 0.02, 10))
        window.sketches[SketchKey(metric, quality)] = sketch
    address = SocketAddress(socket.AF_INET, ("192.0.2.1", 862))
    endpoint = Endpoint("192.0.2.1", 862)
    return Measurement(endpoint, address, [Flow(window)], stamps_leaving=leaving)


@pytest.mark.parametrize(
    ("measurement", "reason"),
    [
        (a_measurement(Quality.A), None),
        (a_measurement(Quality.B), "sends no follow-up"),
        (a_measurement(Quality.C), "does not say that its kernel takes T2"),
        (a_measurement(Quality.B, ProbeKind.ICMP), "an echo"),
        (a_measurement(Quality.C, leaving=False), "does not tell when a packet leaves"),
    ],
    ids=["A", "no follow-up", "a far end of RFC 8762 only", "echo", "this host"],
)
def test_the_class_of_the_figures_is_said_and_why_it_is_not_a(measurement, reason, capsys):
    print_measurements(Measurements([measurement]))
    said = capsys.readouterr().out
    assert f"timestamps of class {measurement.total.quality}: " in said
    if reason is None:
        assert "not of class A" not in said
        assert measurement.to_json()["why_not_a"] is None
    else:
        [line] = [line for line in said.splitlines() if line.startswith("not of class A: ")]
        assert reason in line
        assert reason in measurement.to_json()["why_not_a"]
    print_measurements(Measurements([measurement, a_measurement(Quality.A)]))
    assert ("not of class A: 192.0.2.1" in capsys.readouterr().out) == (reason is not None)


MISTAKES = {
    "a name that does not resolve": (["a..b"], "a..b does not resolve"),
    "an address of the other family": (
        ["127.0.0.1", "-6"],
        "does not resolve to an address of IPv6",
    ),
    "no host": ([":862"], "has no host"),
    "port 0": (["127.0.0.1:0"], "port 0"),
    "a port too large": (["127.0.0.1:70000"], "expected 0 to 65535"),
    "both families": (["localhost", "-4", "-6"], "-4 and -6 exclude each other"),
    "a broadcast address": (["127.255.255.255"], "127.255.255.255: expected the address of one"),
    "echo of a broadcast address": (["--icmp", "255.255.255.255"], "a broadcast address"),
    "a count and a duration": (["::1", "--count", "1", "--duration", "1s"], "exclude each other"),
    "a flood": (["::1", "--interval", "0.1ms"], "10000 packets a second in all, at most 1000;"),
    "a flood by many": (["::1"] * 20 + ["--interval", "10ms"], "2000 packets a second in all"),
    "more ports than packets": (["::1", "--count", "2", "--source-ports", "3"], "only 2 packets"),
    "ports of ICMP": (["::1", "--icmp", "--source-ports", "2"], "--source-ports: not with --icmp"),
    "a key and a size for ICMP": (
        ["::1", "--icmp", "--key-file", "/nonexistent", "--size", "99"],
        "--key-file, --size: not with --icmp",
    ),
    "too much of a flood": (["::1", "--flood", "--interval", "0.001ms"], "at most 100000"),
    "more packets than fit a life": (["::1", "--count", "9" * 20], "longer than 31 years"),
    "more under way than can be remembered": (
        ["::1", "::1", "--interval", "2ms", "--timeout", "1h"],
        "3600000 packets under way at this interval, at most 1000000",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_named_and_nothing_is_sent(arguments, message):
    result = run(*arguments)
    assert isinstance(result.exception, ConfigurationError)
    assert message in str(result.exception)


@pytest.mark.parametrize(
    "option",
    [
        ["--interval", "-1s"],
        ["--timeout", "5"],
        ["--timeout", "99999999999d"],
        ["--interval", "9" * 400 + "s"],
        ["--duration", "99999999999d"],
        ["--dscp", "64"],
        ["--count", "0"],
        ["--source-ports", "0"],
        ["--source-ports", "65"],
    ],
)
def test_a_bad_option_is_a_usage_error(option):
    assert run("::1", *option).exit_code == 2


def test_a_fault_in_the_engine_is_not_swallowed(monkeypatch):
    measuring = Measuring(MeasurePlan((Endpoint("127.0.0.1", free_udp_port()),), count=1))

    def fault() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(measuring._engine, "run", fault)
    with pytest.raises(ZeroDivisionError):
        measuring.run(lambda: None)


def start(command: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a command as a process of its own, so that it can be sent signals.

    What a shell starts in the background ignores Ctrl-C, as does whatever it starts: not this.
    """
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        f"import probes.cli as c; c.{command}(standalone_mode=False)"
    )
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
        assert process.wait(60) == 0
    assert rest.startswith("5 packets answered, 1 discarded\n")
    assert "shorter than" in rest


def test_ctrl_c_ends_a_measurement_with_its_summary():
    options = ("--duration", "1h", "--json", "--timeout", f"{PATIENCE_S:g}s")
    with (
        serving() as server,
        start("measure", "rtt", str(server.endpoints[0]), *options) as process,
    ):
        while not server.reflected:  # before the first packet there is nothing to sum up
            with suppress(subprocess.TimeoutExpired):
                raise AssertionError(f"it ended with {process.wait(0.02)}")
        process.send_signal(signal.SIGINT)
        said = process.stdout.read()
        assert process.wait(60) == 0
    shape = json.loads(said[said.index("{") :])  # behind what a busy machine says of loading
    assert 1 <= shape["answered"] <= server.reflected  # which has ended by now
    assert shape["lost"] == 0
    assert shape["due"] == shape["answered"] + shape["unmeasured"]


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
