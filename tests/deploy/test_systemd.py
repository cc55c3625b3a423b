"""The units of deploy/systemd: systemd itself reads them, and finds them well contained."""

import pathlib
import re
import shutil
import subprocess
import sys

import pytest
from deployment import DEPLOY

UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
EXPOSURE_MAX = {"netslo-collector.service": 1.5}  # of 10; others have capabilities and real time
EXPOSURE_OTHERS = 2.0
each_unit = pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)


def analyze(*arguments):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    done = subprocess.run(
        ["systemd-analyze", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if "Unknown operation" in done.stderr or "unrecognized option" in done.stderr:
        pytest.skip(f"this systemd-analyze knows no {arguments[0]} as used here")
    return done


def settings(unit):
    """Return the settings of a unit: each a list, in order."""
    found = {}
    text = unit.read_text().replace("\\\n", " ")
    for key, value in re.findall(r"^([A-Z]\w+)=(.*)$", text, re.MULTILINE):
        found.setdefault(key, []).append(value.strip())
    return found


def test_there_are_three() -> None:
    assert [unit.name for unit in UNITS] == [
        "netslo-collector.service",
        "netslo-probe@.service",
        "netslo-reflector.service",
    ]


def test_systemd_takes_them(tmp_path) -> None:
    """Under names as they are enabled, with the netslo that is tested."""
    netslo = pathlib.Path(sys.executable).with_name("netslo")
    names = []
    for unit in UNITS:
        file = tmp_path / unit.name.replace("@.", "@leeds.")
        text, count = re.subn(r"/opt/netslo/bin/netslo(?= )", str(netslo), unit.read_text())
        assert count == 1
        file.write_text(text)
        names.append(file)
    done = analyze("verify", "--man=no", *names)
    ours = [line for line in done.stderr.splitlines() if "netslo-" in line]
    assert not ours
    if not done.stderr:
        assert done.returncode == 0


@each_unit
def test_little_is_exposed(unit) -> None:
    done = analyze("security", "--offline=true", "--no-pager", unit)
    score = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    if score is None:
        pytest.skip(f"no score: {done.stderr.strip()}")
    assert float(score[1]) <= EXPOSURE_MAX.get(unit.name, EXPOSURE_OTHERS)


@each_unit
def test_the_watchdog_reload_and_containment_are_there(unit) -> None:
    found = settings(unit)
    assert found["Type"] == ["notify"]
    assert found["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert int(found["WatchdogSec"][0]) > 0
    assert found["User"] == found["Group"] == ["netslo"]
    assert found["ProtectSystem"] == ["strict"]
    assert found["NoNewPrivileges"] == ["yes"]
    assert found["SystemCallFilter"][0] == "@system-service"
    assert set(found["AmbientCapabilities"][0].split()) == set(
        found["CapabilityBoundingSet"][0].split()
    )
    (where,) = re.findall(r"NUMBA_CACHE_DIR=%C/(\S+)", " ".join(found["Environment"]))
    assert found["CacheDirectory"] == [where]


@each_unit
def test_the_command_takes_its_options_and_writes_where_it_may(unit, netslo) -> None:
    found = settings(unit)
    (command,) = found["ExecStart"]
    words = command.replace("%i", "leeds").split()
    assert words[0] == "/opt/netslo/bin/netslo"
    known = netslo(words[1], "--help").stdout
    for option in (word for word in words if word.startswith("--")):
        assert option in known
    written = re.findall(r"%S/([^/\s]+)", " ".join([command, *found["Environment"]]))
    assert sorted(" ".join(found.get("StateDirectory", [])).split()) == sorted(written)


def test_the_user_is_made() -> None:
    (line,) = [
        line
        for line in (DEPLOY / "systemd" / "netslo.sysusers.conf").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert line.split()[:2] == ["u", "netslo"]
