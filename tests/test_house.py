"""The rules of the house: what is tested is the wheel, floors stay floors, nothing local leaks."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata

import pytest

import netslo

ROOT = pathlib.Path(__file__).parents[1]
FLOORS = ("netslo", "dashboards", "slo", "probes", "analytics")


def tracked_files() -> list[pathlib.Path]:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / line for line in listed.stdout.splitlines()]


def test_the_tests_run_against_the_installed_wheel() -> None:
    assert "site-packages" in netslo.__file__
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert metadata.version("netslo") == project["version"] == netslo.__version__


def test_imports_run_one_way() -> None:
    tool = pathlib.Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([tool], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("floor", FLOORS)
def test_every_floor_has_its_tests(floor: str) -> None:
    assert list((ROOT / "tests" / floor).glob("test_*.py"))


def test_the_locks_have_versions_and_hashes_and_no_addresses() -> None:
    for lock in (ROOT / "requirements").glob("*.txt"):
        lines = [line for line in lock.read_text().splitlines() if line.strip()]
        for line in lines:
            assert re.match(r"([a-z0-9._-]+==\S+|    --hash=sha256:[0-9a-f]{64})", line), line
        assert "://" not in lock.read_text()


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
@pytest.mark.parametrize("change", ["nothing", "an edit", "a new file", "a deletion"])
def test_the_wheel_is_built_again_when_and_only_when_sources_change(tmp_path, change) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    source = tmp_path / "probes" / "session.py"
    for folder in (*FLOORS, "examples", "requirements", ".venv"):
        (tmp_path / folder).mkdir()
    for name in ("probes/session.py", "pyproject.toml", "README.md", "LICENSE"):
        (tmp_path / name).touch()
    stamps = (f".venv/.{name}" for name in ("made", "runtime", "installed", "wheel"))
    for name in ("requirements/runtime.txt", *stamps):
        (tmp_path / name).touch()
    for place in tmp_path.rglob("*"):
        os.utime(place, (1_000, 1_000))
    if change == "an edit":
        source.touch()
    elif change == "a new file":
        source.with_name("ledger.py").touch()
    elif change == "a deletion":
        source.unlink()
    done = subprocess.run(
        ["make", "-q", ".venv/.wheel"], cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == (0 if change == "nothing" else 1), done.stderr


def test_no_file_names_a_place_of_one_machine_or_a_registry() -> None:
    local = re.compile(r"(?<![\w.])/(root|home/\w+|work)/|--(extra-)?index-url|--find-links ")
    for file in tracked_files():
        if file.suffix in {".py", ".md", ".toml", ".txt", ".yaml", ".yml", ""} and file.is_file():
            text = file.read_text(errors="replace")
            if file != pathlib.Path(__file__):
                assert not local.search(text), file


def test_every_module_fits_on_a_few_screens() -> None:
    for floor in FLOORS:
        for file in (ROOT / floor).rglob("*.py"):
            assert len(file.read_text().splitlines()) <= 450, file
