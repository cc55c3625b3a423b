"""deploy/Dockerfile, as far as it can be held to account without building it."""

import re
import tomllib

import pytest
from deployment import ROOT, dockerfile, environment

STAGES = dockerfile()
LOCK_LINE = re.compile(r"^([a-z0-9._-]+)==(\S+)", re.MULTILINE)


def locked(name):
    """Return the versions of a lock, by name; a name may have one for each Python."""
    found = {}
    for package, version in LOCK_LINE.findall((ROOT / "requirements" / f"{name}.txt").read_text()):
        found.setdefault(package, set()).add(version)
    return found


def test_stages_are_there_and_in_order() -> None:
    assert {"probe", "compiled", "collector"} <= set(STAGES)
    seen = set()
    for name, stage in STAGES.items():
        assert stage.parent in seen or stage.parent == "python:${PYTHON}"
        for copy in stage.arguments("COPY"):
            if source := re.search(r"--from=(\S+)", copy):
                assert source[1] in seen
        seen.add(name)


def test_images_are_made_of_files_that_the_builder_is_given() -> None:
    lines = (ROOT / ".dockerignore").read_text().split("\n")
    assert lines[lines.index("*") :]
    given = {line[1:] for line in lines if line.startswith("!")}
    for stage in STAGES.values():
        for copy in stage.arguments("COPY"):
            if "--from=" not in copy:
                *sources, _ = [word for word in copy.split() if not word.startswith("--")]
                for source in sources:
                    assert source in given
                    assert (ROOT / source).exists()
    assert all((ROOT / each).exists() for each in given)
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert set(packages["targets"]["wheel"]["packages"]) <= given


@pytest.mark.parametrize("name", ["probe", "compiled", "collector"])
def test_an_image_has_no_root_and_says_how_it_is(name) -> None:
    stage, base = STAGES[name], STAGES["base"]
    assert stage.parent == "base"
    assert not stage.arguments("USER")
    assert base.arguments("USER") == ["10001:10001"]
    assert base.arguments("ENTRYPOINT") == ['["netslo"]']
    assert '"netslo", "healthcheck"' in stage.arguments("HEALTHCHECK")[0]


def test_any_user_may_enter_the_folder_in_which_a_process_begins() -> None:
    """Init containers of Prometheus' pod run ours as nobody."""
    base = STAGES["base"]
    (folder,) = base.arguments("WORKDIR")
    (made,) = base.arguments("RUN")
    assert re.search(rf"install -d [^&]*-m 0755 [^&]*{folder}\b", made)


def test_the_cache_of_compiled_loops_lies_where_it_was_made_and_can_be_written() -> None:
    folder = environment()["NUMBA_CACHE_DIR"]
    for name in ("compiled", "collector"):
        files = STAGES[f"{name}-files"]
        assert f"NUMBA_CACHE_DIR={folder}" in files.arguments("ENV")
        assert "-m probes.warm_up" in files.arguments("RUN")[0]
        copies = STAGES[name].arguments("COPY")
        assert f"--from={name}-files --chown=10001:10001 {folder} {folder}" in copies
        # numba knows a loop by the path of its source
        assert f"--from={name}-files /opt/netslo /opt/netslo" in copies
    for floor in ("analytics", "slo"):
        assert f"-m {floor}.warm_up" in STAGES["collector-files"].arguments("RUN")[0]


def test_only_locks_are_installed_from() -> None:
    for stage in STAGES.values():
        for run in stage.arguments("RUN"):
            for install in re.findall(r"pip --python \S+ (install|wheel)([^&]*)", run):
                arguments = install[1]
                if "--no-deps" not in arguments:
                    (lock,) = re.findall(r"-r requirements/(\w+)\.txt", arguments)
                    assert "--require-hashes" in arguments
                    assert locked(lock)


@pytest.mark.parametrize("name", ["probe", "compiled", "collector"])
def test_a_small_lock_is_part_of_the_whole(name) -> None:
    whole, part = locked("runtime"), locked(name)
    assert part.items() <= whole.items()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*extras["dependencies"], *extras["optional-dependencies"]["probe"]]
    if name != "probe":
        asked += extras["optional-dependencies"]["compiled"]
    if name == "collector":
        asked += extras["optional-dependencies"]["analytics"]
        asked += extras["optional-dependencies"]["dashboards"]
    for requirement in asked:
        assert re.match(r"[A-Za-z0-9-]+", requirement)[0].lower() in part
    assert not {"plotly", "hatchling"} & set(part)
    if name == "collector":
        return
    assert not {"pyarrow", "grafanalib", "prometheus-client"} & set(part)
    assert ("numba" in part) == (name == "compiled")
