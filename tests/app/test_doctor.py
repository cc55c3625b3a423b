"""What doctor finds: tried on this host, and on hosts made worse than this one."""

import json
import pathlib
import re
import socket
import tomllib
from dataclasses import replace
from importlib import metadata

import pytest
from click.testing import CliRunner

from netslo.app import doctor
from netslo.app.commands.doctor import doctor as command
from netslo.app.doctor import Finding
from netslo.errors import NetsloError
from probes.clock import ClockState

ROOT = pathlib.Path(__file__).parents[2]


def refuse(*arguments, **options):
    raise PermissionError(1, "Operation not permitted")


def run(monkeypatch, findings, *arguments):
    monkeypatch.setattr(doctor, "examine", lambda: findings)
    return CliRunner().invoke(command, arguments)


def test_a_datagram_to_ourselves_is_stamped_as_it_leaves_and_as_it_arrives() -> None:
    assert doctor._receive_timestamps().good
    assert doctor._transmit_timestamps().good


def test_a_kernel_that_takes_the_option_and_stamps_nothing_is_found_out(monkeypatch) -> None:
    monkeypatch.setattr(doctor, "_TX_SOFTWARE", 0)
    monkeypatch.setattr(doctor, "_TRANSMIT_WAIT_MS", 1)
    assert not doctor._transmit_timestamps().good
    monkeypatch.setattr(doctor, "enable_timestamps", lambda sock: None)
    assert not doctor._receive_timestamps().good


def test_a_host_that_refuses_sockets_gets_its_findings_all_the_same(monkeypatch) -> None:
    monkeypatch.setattr(socket, "socket", refuse)
    tried = [doctor._receive_timestamps(), doctor._transmit_timestamps(), doctor._self_test()]
    assert not any(finding.good for finding in tried)
    icmp = [f for f in doctor._privileges() if f.what in {"raw sockets", "ping sockets"}]
    assert [finding.good for finding in icmp] == [False, False]


def test_the_self_test_gives_the_noise_floor_in_seconds(monkeypatch) -> None:
    monkeypatch.setattr(doctor, "_SELF_TEST_PACKETS", 20)
    floor = doctor._self_test()
    assert floor.good
    assert floor.figures is not None
    assert 0 < floor.figures["0.5"] <= floor.figures["0.99"] < 0.1


@pytest.mark.parametrize("error", [NetsloError("port taken"), OSError("no loopback")], ids=str)
def test_a_self_test_that_cannot_run_is_something_measuring_needs(monkeypatch, error) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(doctor, "_measure_ourselves", fail)
    finding = doctor._self_test()
    assert (finding.good, finding.needed, finding.found) == (False, True, str(error))


@pytest.mark.parametrize(
    ("state", "error_s", "text"),
    [
        (ClockState(synchronised=True, error_ns_max=2_500_000), 0.0025, "at most 2.50 ms"),
        (ClockState(synchronised=True, error_ns_max=None), None, "synchronised"),
        (ClockState(synchronised=False, error_ns_max=16 * 10**9), None, "not synchronised"),
    ],
    ids=["synchronised", "of unknown error", "at the kernel's limit, which bounds nothing"],
)
def test_the_clocks_error_is_said_only_where_it_is_known(monkeypatch, state, error_s, text):
    monkeypatch.setattr(doctor, "read_clock_state", lambda: state)
    finding = doctor._clock()
    assert finding.good is state.synchronised
    assert finding.figures == {"error": error_s}
    assert finding.found.endswith(text)


@pytest.mark.parametrize(
    ("capabilities", "first_port", "good"),
    [
        (0, 1024, False),
        (1 << 10, 1024, True),
        (0, 862, True),
        (0, 863, False),
        (1 << 13, 1024, False),
    ],
)
def test_the_stamp_port_needs_a_capability_or_a_lower_limit(
    monkeypatch, capabilities, first_port, good
) -> None:
    monkeypatch.setattr(doctor, "_capabilities", lambda: capabilities)
    monkeypatch.setattr(doctor, "_read_number", lambda file, default: first_port)
    finding = next(iter(doctor._privileges()))
    assert finding.what == "port 862"
    assert finding.good is good


def test_capabilities_are_those_the_kernel_lists() -> None:
    status = pathlib.Path("/proc/self/status").read_text()
    assert f"CapEff:\t{doctor._capabilities():016x}\n" in status


def test_a_number_that_cannot_be_read_is_the_default(tmp_path) -> None:
    (tmp_path / "range").write_text("1\t0\n")
    assert doctor._read_number(str(tmp_path / "range"), 7) == 7
    assert doctor._read_number(str(tmp_path / "none"), 7) == 7


def test_the_extras_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {
        extra: tuple(re.split(r"[<>=!~ ]", requirement)[0] for requirement in requirements)
        for extra, requirements in project["optional-dependencies"].items()
        if extra != "all"
    }
    assert declared == doctor._EXTRAS


def test_what_an_extra_lacks_is_named_with_the_command_that_installs_it(monkeypatch) -> None:
    def version(distribution: str) -> str:
        if distribution in {"opentelemetry-sdk", "scapy"}:
            raise metadata.PackageNotFoundError(distribution)
        return "1"

    monkeypatch.setattr(metadata, "version", version)
    probe, analytics, dashboards = doctor._extras()
    assert (probe.good, analytics.good, dashboards.good) == (False, True, True)
    assert probe.found == "lacks opentelemetry-sdk, scapy"
    assert probe.meaning == "pip install 'netslo[probe]'"


def test_kernels_that_do_not_load_leave_numpy(monkeypatch) -> None:
    monkeypatch.setattr(doctor._kernels, "load", lambda: False)
    finding = doctor._numba()
    assert not finding.good
    assert not finding.needed
    monkeypatch.setenv("NETSLO_NUMBA", "0")
    assert "NETSLO_NUMBA=0" in doctor._numba().found


GOOD = Finding("thing", good=True, found="here", meaning="")
LACKS = replace(GOOD, good=False, found="lacks [it]", meaning="do [this]")
NEEDED = replace(LACKS, needed=True)


@pytest.mark.parametrize(
    ("finding", "mark", "status"),
    [(GOOD, "✓", 0), (LACKS, "-", 0), (NEEDED, "✗", 1)],
    ids=["good", "lacks something", "lacks what measuring needs"],
)
def test_each_line_has_a_mark_and_only_a_need_fails(monkeypatch, finding, mark, status) -> None:
    done = run(monkeypatch, [finding])
    assert done.exit_code == status
    line = done.stdout.splitlines()[1]
    assert line.split()[:2] == [mark, "thing"]
    assert finding.found in line  # brackets are text, not markup
    done = run(monkeypatch, [finding], "--json")
    assert done.exit_code == status
    assert json.loads(done.stdout)["findings"] == [finding.to_json()]


def test_a_long_finding_is_folded_and_not_cut(monkeypatch) -> None:
    place = "/var/cache/" + "kernels_" * 20
    done = run(monkeypatch, [replace(GOOD, found=place)])
    rest = "".join(done.stdout.replace("found", "").split())
    assert place in rest
