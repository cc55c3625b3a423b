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
from netslo.app.doctor import Examination, Finding, clock, examination, privileges, software
from netslo.app.doctor import stamping as stamps
from netslo.app.doctor.clock import Chrony, ask_chrony, clock_findings, parse_tracking
from netslo.app.doctor.floor import floor_findings
from netslo.errors import NetsloError
from netslo.model import Quality
from probes.clock import ClockState
from probes.interfaces import Interface, Timestamping
from probes.noise_floor import Figure, NoiseFloor
from probes.timestamps import keep_stamping

ROOT = pathlib.Path(__file__).parents[2]
SYNCHRONISED = ClockState(synchronised=True, error_ns_max=2_500_000)
ADRIFT = ClockState(synchronised=False, error_ns_max=16 * 10**9)
FLOOR = NoiseFloor(
    seconds=4.0,
    rate=1000.0,
    compiled=True,
    due=4000,
    answered=4000,
    lost=0,
    unmeasured=0,
    samples={Quality.A: 3999, Quality.B: 1},
    rtt={q: Figure(2e-6, 1e-6, 3e-6) for q in ("0.5", "0.9", "0.99", "0.999")},
    lateness={q: Figure(2e-5, 1e-5, 3e-5) for q in ("0.5", "0.9", "0.99", "0.999")},
    discarded={},
)


def refuse(*arguments, **options):
    raise PermissionError(1, "Operation not permitted")


def by_name(findings) -> dict[str, Finding]:
    return {finding.what: finding for finding in findings}


class TestNoiseFloor:
    def test_three_percentiles_have_intervals_and_figures_in_seconds(self) -> None:
        found = by_name(floor_findings(FLOOR))
        floor = found["noise floor"]
        assert floor.good
        assert floor.needed
        assert floor.found.startswith("P50 2.00 (1.00 to 3.00), P99 2.00 (1.00 to 3.00), P99.9")
        assert "µs; 4,000 of 4,000 answered" in floor.found
        assert floor.figures == dict.fromkeys(("0.5", "0.9", "0.99", "0.999"), 2e-6)
        assert found["timestamp class"].found.startswith("class A: all four")
        assert found["punctuality"].good

    @pytest.mark.parametrize(
        ("lost", "unmeasured", "good"), [(4, 0, True), (3, 2, False), (0, 4000, False)]
    )
    def test_packets_that_no_network_lost_are_this_hosts_fault(self, lost, unmeasured, good):
        answered = 4000 - lost - unmeasured
        floor = replace(FLOOR, answered=answered, lost=lost, unmeasured=unmeasured)
        assert by_name(floor_findings(floor))["noise floor"].good is good

    def test_what_is_not_known_is_a_dash(self) -> None:
        nothing = dict.fromkeys(FLOOR.rtt, Figure())
        floor = replace(FLOOR, answered=0, lost=4000, samples={}, rtt=nothing, lateness=nothing)
        found = by_name(floor_findings(floor))
        assert "P50 - (- to -)" in found["noise floor"].found
        assert "timestamp class" not in found
        assert not found["punctuality"].good

    @pytest.mark.parametrize(("quality", "good"), [(Quality.A, True), (Quality.C, False)])
    def test_the_class_of_the_figures_is_said(self, quality, good) -> None:
        found = by_name(floor_findings(replace(FLOOR, samples={quality: 9})))
        assert found["timestamp class"].good is good
        assert found["timestamp class"].found.startswith(f"class {quality}")

    def test_a_host_that_is_late_is_told_so(self) -> None:
        late = {**FLOOR.lateness, "0.99": Figure(0.002, 0.001, 0.003)}
        finding = by_name(floor_findings(replace(FLOOR, lateness=late)))["punctuality"]
        assert not finding.good
        assert not finding.needed
        assert "P99 2.000 (1.000 to 3.000)" in finding.found

    def test_a_self_test_that_cannot_run_is_something_measuring_needs(self, monkeypatch) -> None:
        def fail(**_options):
            raise NetsloError("no loopback")

        monkeypatch.setattr(examination, "measure_noise_floor", fail)
        found = doctor.examine()
        assert found.floor is None
        assert not found.able
        assert found.to_json()["noise_floor"] is None
        assert by_name(found.findings)["noise floor"].found == "no loopback"


class TestStamping:
    def test_a_datagram_to_ourselves_is_stamped_as_it_leaves_and_as_it_arrives(self) -> None:
        assert all(finding.good for finding in stamps.kernel_stamps())

    def test_a_kernel_that_takes_the_option_and_stamps_nothing_is_found_out(self, monkeypatch):
        monkeypatch.setattr(stamps, "_TX_SOFTWARE", 0)
        monkeypatch.setattr(stamps, "_TRANSMIT_WAIT_MS", 1)
        monkeypatch.setattr(stamps, "keep_stamping", lambda: False)
        assert not any(finding.good for finding in stamps.kernel_stamps())

    def test_a_host_that_refuses_sockets_gets_its_findings_all_the_same(self, monkeypatch) -> None:
        monkeypatch.setattr(stamps, "keep_stamping", keep_stamping.__wrapped__)
        monkeypatch.setattr(socket, "socket", refuse)
        found = [*stamps.kernel_stamps(), *privileges.privilege_findings()]
        tried = {"kernel receive timestamps", "kernel transmit timestamps", "ping sockets"}
        tried |= {"raw sockets", "receive buffer"}
        assert {f.what for f in found if not f.good} >= tried
        assert all(f.mend for f in found if not f.good)

    def test_each_interface_that_is_up_says_who_stamps(self) -> None:
        soft = Timestamping(
            software_transmit=True,
            software_receive=True,
            hardware_transmit=False,
            hardware_receive=False,
            phc_index=None,
        )
        plain = Interface("eth0", True, True, False, 1400, "virtio_net", soft)
        ptp = replace(soft, phc_index=3)
        both = replace(
            ptp,
            hardware_transmit=True,
            hardware_receive=True,
            transmit_types=("off", "on"),
            receive_filters=("none", "all"),
        )
        cases = [
            (plain, True, "virtio_net, MTU 1400: the kernel stamps, no hardware clock"),
            (replace(plain, timestamping=ptp), True, "hardware clock /dev/ptp3 for PTP only"),
            (replace(plain, timestamping=both), True, "/dev/ptp3 for any packet"),
            (replace(plain, link=False), True, "no carrier: the kernel stamps"),
            (
                replace(plain, timestamping=replace(soft, software_transmit=False)),
                False,
                "stamps what comes, not what leaves",
            ),
            (
                replace(
                    plain,
                    timestamping=replace(soft, software_receive=False, software_transmit=False),
                ),
                False,
                "the kernel stamps nothing",
            ),
            (replace(plain, timestamping=None), False, "does not say who stamps"),
        ]
        for interface, good, text in cases:
            [finding] = stamps.interface_stamps([interface])
            assert finding.good is good
            assert text in finding.found
        hidden = [replace(plain, up=False), replace(plain, loopback=True)]
        assert not list(stamps.interface_stamps(hidden))


TRACKING = (
    "A29FC87B,162.159.200.123,4,1700000000.123456789,-0.000050000,0.000001,0.000010,"
    "-7.123,0.001,0.016,0.004000000,0.001500000,64.2,Normal\n"
)


class TestClock:
    @pytest.mark.parametrize(
        ("state", "error_s", "text"),
        [
            (SYNCHRONISED, 0.0025, "off by at most 2.500 ms"),
            (ClockState(synchronised=True, error_ns_max=None), None, "follows UTC"),
            (ADRIFT, None, "does not follow UTC (adjtimex)"),
        ],
        ids=["synchronised", "of unknown error", "at the kernel's limit, which bounds nothing"],
    )
    def test_the_clocks_error_is_said_only_where_it_is_known(self, state, error_s, text) -> None:
        [finding] = clock_findings(state, None)
        assert finding.good is state.synchronised
        assert finding.figures == {"error": error_s}
        assert finding.found.endswith(text)
        assert (finding.mend == "") == finding.good

    def test_chrony_bounds_the_error_by_half_the_delay_the_dispersion_and_the_offset(self) -> None:
        chrony = parse_tracking(TRACKING)
        assert (chrony.source, chrony.stratum) == ("162.159.200.123", 4)
        assert chrony.error_s_max == pytest.approx(0.00005 + 0.0015 + 0.002)
        assert chrony.synchronised
        _, finding = clock_findings(SYNCHRONISED, chrony)
        assert finding.good
        assert finding.found.endswith("stratum 4: off by at most 3.550 ms")

    def test_chrony_without_a_server_is_a_lack(self) -> None:
        line = TRACKING.replace("Normal", "Not synchronised")
        adrift, finding = clock_findings(ADRIFT, parse_tracking(line))
        assert adrift.mend == "chronyc waitsync"
        assert not finding.good
        assert finding.figures == {"error": None}

    @pytest.mark.parametrize("text", ["", "506 Cannot talk to daemon", ",".join(["x"] * 14)])
    def test_other_words_are_no_report(self, text) -> None:
        with pytest.raises(ValueError, match=r"."):
            parse_tracking(text)

    @pytest.mark.parametrize(
        ("program", "known"),
        [
            (f"printf '%s' '{TRACKING.strip()}'", True),
            ("echo '506 Cannot talk to daemon'", False),
            ("exit 1", False),
            ("exec sleep 60", False),
        ],
        ids=["answers", "no daemon", "fails", "hangs"],
    )
    def test_chronyc_is_asked_and_may_fail(self, tmp_path, monkeypatch, program, known) -> None:
        file = tmp_path / "chronyc"
        file.write_text(f'#!/bin/sh\n[ "$1 $2" = "-c tracking" ] || exit 9\n{program}\n')
        file.chmod(0o755)
        monkeypatch.setattr(clock.shutil, "which", lambda name: str(file))
        monkeypatch.setattr(clock, "_PATIENCE_S", 60.0 if known else 1.0)
        assert (ask_chrony() is not None) is known

    def test_a_host_without_chrony_is_fine(self, monkeypatch) -> None:
        monkeypatch.setattr(clock.shutil, "which", lambda name: None)
        assert ask_chrony() is None


class TestPrivileges:
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
        self, monkeypatch, capabilities, first_port, good
    ) -> None:
        monkeypatch.setattr(privileges, "_capabilities", lambda: capabilities)
        monkeypatch.setattr(privileges, "_read_number", lambda file, default: first_port)
        finding = by_name(privileges.privilege_findings())["port 862"]
        assert finding.good is good
        assert (finding.mend == "sysctl -w net.ipv4.ip_unprivileged_port_start=862") is not good

    def test_capabilities_are_those_the_kernel_lists(self) -> None:
        status = pathlib.Path("/proc/self/status").read_text()
        assert f"CapEff:\t{privileges._capabilities():016x}\n" in status

    def test_a_number_that_cannot_be_read_is_the_default(self, tmp_path) -> None:
        (tmp_path / "range").write_text("1\t0\n")
        assert privileges._read_number(str(tmp_path / "range"), 7) == 7
        assert privileges._read_number(str(tmp_path / "none"), 7) == 7

    @pytest.mark.parametrize(
        ("may", "switch", "good", "mend"),
        [
            (True, None, True, ""),
            (False, None, False, "prlimit --pid $$ --rtprio=10"),
            (True, "0", False, "unset NETSLO_REALTIME"),
        ],
    )
    def test_the_priority_is_tried_and_may_be_switched_off(
        self, monkeypatch, may, switch, good, mend
    ) -> None:
        monkeypatch.setattr(privileges, "may_hurry", lambda: may)
        monkeypatch.delenv("NETSLO_REALTIME", raising=False)
        if switch is not None:
            monkeypatch.setenv("NETSLO_REALTIME", switch)
        finding = by_name(privileges.privilege_findings())["real-time priority"]
        assert (finding.good, finding.mend) == (good, mend)

    @pytest.mark.parametrize(
        ("ping", "raw", "text"),
        [(True, False, "by ping sockets"), (False, True, "by raw sockets"), (False, False, "no ")],
    )
    def test_echo_is_had_by_one_of_two_ways(self, monkeypatch, ping, raw, text) -> None:
        ways = {socket.SOCK_DGRAM: ping, socket.SOCK_RAW: raw}
        monkeypatch.setattr(privileges, "_opens_icmp", lambda kind: ways[kind])
        found = by_name(privileges.privilege_findings())
        lacking = found["raw sockets" if ping else "ping sockets"]
        assert text in lacking.meaning
        assert lacking.mend


class TestSoftware:
    def test_the_extras_are_those_of_the_project(self) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        declared = {
            extra: tuple(re.split(r"[<>=!~ ]", requirement)[0] for requirement in requirements)
            for extra, requirements in project["optional-dependencies"].items()
            if extra != "all"
        }
        assert declared == software.EXTRAS

    def test_what_an_extra_lacks_is_named_with_the_command_that_installs_it(self, monkeypatch):
        def version(distribution: str) -> str:
            if distribution in {"opentelemetry-sdk", "scapy"}:
                raise metadata.PackageNotFoundError(distribution)
            return "1"

        monkeypatch.setattr(metadata, "version", version)
        probe, *others = software.extras()
        assert not probe.good
        assert all(each.good for each in others)
        assert probe.found == "lacks opentelemetry-sdk, scapy"
        assert probe.mend == "pip install 'netslo[probe]'"

    def test_kernels_that_do_not_load_leave_numpy_and_the_plain_engine(self, monkeypatch) -> None:
        monkeypatch.setattr(software.analytics_kernels, "load", lambda: False)
        monkeypatch.setattr(software.probes_kernels, "available", lambda: False)
        found = list(software.kernels())
        assert [finding.good for finding in found] == [False, False]
        assert not any(finding.needed for finding in found)
        assert found[0].mend == "pip install 'netslo[analytics]'"
        monkeypatch.setenv("NETSLO_NUMBA", "0")
        assert all("NETSLO_NUMBA=0" in finding.found for finding in software.kernels())

    def test_kernels_that_are_kept_nowhere_are_compiled_at_each_start(self, monkeypatch) -> None:
        monkeypatch.setattr(software.analytics_kernels, "load", lambda: True)
        monkeypatch.setattr(software.probes_kernels, "available", lambda: True)
        monkeypatch.setattr(software.analytics_kernels, "cache_folder", lambda: None)
        monkeypatch.setattr(software.probes_kernels, "cache_folder", lambda: pathlib.Path("/kept"))
        measuring, counting = software.kernels()
        assert measuring.good
        assert measuring.found.endswith("/kept")
        assert not counting.good
        assert "NUMBA_CACHE_DIR" in counting.mend


GOOD = Finding("thing", good=True, found="here", meaning="")
LACKS = replace(GOOD, good=False, found="lacks [it]", meaning="costs this", mend="do [this]")
NEEDED = replace(LACKS, needed=True)


def run(monkeypatch, findings, *arguments):
    found = Examination(tuple(findings), FLOOR, (), SYNCHRONISED, parse_tracking(TRACKING))
    monkeypatch.setattr(doctor, "examine", lambda seconds: found)
    return CliRunner().invoke(command, arguments)


@pytest.mark.parametrize(
    ("finding", "mark", "status", "verdict"),
    [
        (GOOD, "✓", 0, "lacks nothing"),
        (LACKS, "-", 0, "could be better: thing"),
        (NEEDED, "✗", 1, "cannot measure"),
    ],
    ids=["good", "lacks something", "lacks what measuring needs"],
)
def test_each_finding_has_a_mark_and_only_a_need_fails(
    monkeypatch, finding, mark, status, verdict
) -> None:
    done = run(monkeypatch, [finding])
    assert done.exit_code == status
    lines = done.stdout.splitlines()
    assert lines[0].split()[:2] == [mark, "thing"]
    assert finding.found in lines[0]
    assert ("mend: do [this]" in done.stdout) is not finding.good
    assert verdict in lines[-1]
    assert "\x1b" not in done.stdout  # no colour where nobody could see it


def test_the_json_has_a_stable_shape(monkeypatch) -> None:
    done = run(monkeypatch, [NEEDED], "--json")
    assert done.exit_code == 1
    shape = json.loads(done.stdout)
    assert shape["able"] is False
    assert shape["findings"] == [NEEDED.to_json()]
    assert shape["noise_floor"] == json.loads(json.dumps(FLOOR.to_json()))
    assert shape["clock"]["synchronised"] is True
    assert shape["clock"]["error_max"] == 0.0025
    assert set(shape["clock"]["chrony"]) == {
        *("source", "stratum", "offset", "root_delay", "root_dispersion", "leap", "error_max")
    }
    assert shape["interfaces"] == []


def test_a_path_or_a_command_is_not_cut(monkeypatch) -> None:
    place, mend = "/var/cache/" + "kernels_" * 20, "sysctl " + "-w a=b " * 20
    done = run(monkeypatch, [replace(LACKS, found=f"kept in {place}", mend=mend)])
    assert any(place in line for line in done.stdout.splitlines())
    assert any(mend in line for line in done.stdout.splitlines())


@pytest.mark.parametrize("seconds", ["0", "601", "x", "nan"])
def test_a_self_test_of_no_length_is_a_usage_error(seconds) -> None:
    assert CliRunner().invoke(command, ["--seconds", seconds]).exit_code == 2


def test_all_of_it_on_this_host() -> None:
    found = doctor.examine(seconds=0.2)
    names = by_name(found.findings)
    assert found.floor is not None
    assert found.floor.due == 200
    assert {"netslo", "noise floor", "clock", "port 862", "measuring loop"} <= names.keys()
    assert all(finding.mend for finding in found.findings if not finding.good)
    json.dumps(found.to_json(), allow_nan=False)


def test_a_clock_report_is_a_chrony() -> None:
    assert isinstance(parse_tracking(TRACKING), Chrony)
