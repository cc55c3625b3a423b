"""docker-compose.yml: valid, contained, and at one with the images and with itself."""

import copy
import pathlib
import re
import shutil
import subprocess

import pytest
import yaml
from deployment import COMPOSE, DEPLOY, IMAGES, ROOT, SERVICES, dockerfile, environment, faults

OURS = {"netslo:0.1.0": "collector", "netslo-probe:0.1.0": "probe"}
each_service = pytest.mark.parametrize("name", SERVICES)


def client() -> list[str] | None:
    """Return the command of Compose, where it is installed."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            asked = [*command, "version"]
            done = subprocess.run(asked, capture_output=True, text=True, check=False)
            if done.returncode == 0 and re.search(r"v?[2-9]\.\d+", done.stdout):
                return command
    return None


@pytest.mark.parametrize("file", ["docker-compose.yml", "deploy/compose/realtime.yml"])
def test_it_keeps_to_the_schema(file) -> None:
    assert not faults("compose", yaml.safe_load((ROOT / file).read_text()))


def test_the_schema_tells_faults() -> None:
    wrong = copy.deepcopy(COMPOSE)
    wrong["services"]["collector"]["comand"] = "x"
    wrong["services"]["grafana"]["read_only"] = []
    assert len(faults("compose", wrong)) == 2


@pytest.mark.skipif(client() is None, reason="Docker Compose is not installed")
@pytest.mark.parametrize("also", [[], ["-f", "deploy/compose/realtime.yml"]])
def test_compose_itself_takes_it(also) -> None:
    command = [*client(), "-f", "docker-compose.yml", *also, "config", "--quiet"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr


@each_service
def test_nothing_can_be_had_from_a_container(name) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service  # without root they would be in vain
    assert "no-new-privileges:true" in service["security_opt"]
    assert "privileged" not in service
    user = service["user"].split(":")[0]
    assert int(user) > 0
    limits = service["deploy"]["resources"]["limits"]
    assert set(limits) == {"cpus", "memory", "pids"}
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    assert service["restart"] == ("no" if name == "configure" else "unless-stopped")
    assert any(each.startswith("/tmp:size=") for each in service["tmpfs"])


@each_service
def test_images_are_pinned_and_run_as_they_say(name) -> None:
    service = SERVICES[name]
    image, _, tag = service["image"].partition(":")
    assert re.fullmatch(r"v?\d+\.\d+\.\d+", tag)
    if image in IMAGES:
        known = IMAGES[image]
        assert service["user"] == known.user
        assert any(volume.endswith(f":{known.data}") for volume in service["volumes"])
        assert service["healthcheck"]["test"][1] in known.programs
        assert f":{known.port}/" in service["healthcheck"]["test"][-1]
    else:
        target = OURS[service["image"]]
        assert service["build"]["target"] == target
        assert (ROOT / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
        assert dockerfile()[target].parent == "base"
        assert dockerfile()["base"].arguments("USER") == [service["user"]]


def test_the_version_is_that_of_the_project() -> None:
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert all(image.endswith(f":{version[1]}") for image in OURS)
    assert f'image.version="{version[1]}"' in (DEPLOY / "Dockerfile").read_text()


@each_service
def test_everything_mounted_is_there(name) -> None:
    service = SERVICES[name]
    for volume in service.get("volumes", []):
        source, target, *mode = volume.split(":")
        assert target.startswith("/")
        if source.startswith("."):
            assert (ROOT / source).exists(), source
            assert mode == ["ro"]
        else:
            assert source in COMPOSE["volumes"]
    for secret in service.get("secrets", []):
        assert secret in COMPOSE["secrets"]
    for network in service.get("networks", []):
        assert network in COMPOSE["networks"]
    for other in service.get("depends_on", {}):
        assert other in SERVICES


def test_nothing_is_declared_for_nobody() -> None:
    for kind in ("volumes", "networks", "secrets"):
        used = {
            str(each).split(":")[0]
            for service in SERVICES.values()
            for each in service.get(kind, ())
        }
        assert set(COMPOSE[kind]) <= used


@each_service
def test_a_path_that_is_written_can_be_written(name) -> None:
    """Beside volumes and tmpfs everything is read-only."""
    service = SERVICES[name]
    volumes = service.get("volumes", ())
    written = [volume.split(":")[1] for volume in volumes if not volume.endswith(":ro")]
    writing = ("--store=", "--spool=", "--state=", "--storage.tsdb.path=", "--storage.path=")
    for argument in service.get("command", ()):
        if argument.startswith(writing):
            path = argument.split("=", 1)[1]
            assert any(path == each or path.startswith(f"{each}/") for each in written)
    assert environment()["NETSLO_ALIVE_FILE"].startswith("/tmp/")


@each_service
def test_a_path_that_is_read_is_mounted(name) -> None:
    service = SERVICES[name]
    texts = [*service.get("command", ()), *service.get("environment", {}).values()]
    mounted = [volume.split(":")[1] for volume in service.get("volumes", ())]
    mounted += [f"/run/secrets/{secret}" for secret in service.get("secrets", ())]
    for path in re.findall(r"(?:^|=)(/[a-z][^\s,]*)", "\n".join(texts)):
        assert any(path == each or path.startswith(f"{each}/") for each in mounted), path


def test_who_is_spoken_to_listens_there_on_a_network_of_both() -> None:
    listens = {}
    for name, service in SERVICES.items():
        port = re.search(r"(?:listen|listen-address)=0\.0\.0\.0:(\d+)", str(service.get("command")))
        listens[name] = int(port[1]) if port else None
    listens["grafana"] = IMAGES["grafana/grafana"].port

    def networks(name):
        return set(SERVICES[name].get("networks", ()))

    spoken = [
        (name, target, int(port))
        for name, service in SERVICES.items()
        for target, port in re.findall(r"http://([a-z-]+):(\d+)", str(service.get("command")))
    ]
    config = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
    for target, port in re.findall(r'"([a-z]+):(\d+)"', config):
        if target != "localhost":
            spoken.append(("prometheus", target, int(port)))
    script = (DEPLOY / "generate.sh").read_text()
    (pager,) = re.findall(r"http://(webhook):(\d+)/", script)
    sources = re.findall(r"http://(prometheus|alertmanager):(\d+)", script)
    assert len(sources) == 2
    spoken += [("alertmanager", pager[0], int(pager[1]))]
    spoken += [("grafana", name, int(port)) for name, port in sources]
    estate = yaml.safe_load((DEPLOY / "estate" / "estate.yaml").read_text())
    for site in estate["sites"]:
        host, port = site["addresses"][0].split(":")
        spoken += [(f"probe-{other['name']}", host, int(port)) for other in estate["sites"]]
    assert len(spoken) >= 11
    for speaker, target, port in spoken:
        assert listens[target] == port, (speaker, target)
        assert networks(speaker) & networks(target), (speaker, target)


@each_service
def test_ports_are_published_on_loopback_only(name) -> None:
    for published in SERVICES[name].get("ports", []):
        host, outside, inside = published.split(":")
        assert (host, outside) == ("127.0.0.1", inside)


def test_both_ends_of_stamp_have_the_key() -> None:
    estate = yaml.safe_load((DEPLOY / "estate" / "estate.yaml").read_text())
    file = estate["authentication"]["key_file"]
    for site in estate["sites"]:
        for role in ("probe", "reflector"):
            assert SERVICES[f"{role}-{site['name']}"]["secrets"] == [pathlib.Path(file).name]
        assert f"--key-file={file}" in SERVICES[f"reflector-{site['name']}"]["command"]


def test_a_site_is_tested_where_its_reflector_answers_and_shares_its_state() -> None:
    estate = yaml.safe_load((DEPLOY / "estate" / "estate.yaml").read_text())
    for site in estate["sites"]:
        reflector, probe = (SERVICES[f"{role}-{site['name']}"] for role in ("reflector", "probe"))
        assert f"--bandwidth=0.0.0.0:{site['bandwidth']}" in reflector["command"]
        (state,) = (each for each in reflector["command"] if each.startswith("--state="))
        assert state in probe["command"]
        folder = state.removeprefix("--state=")
        shared = {each for each in reflector["volumes"] if each.endswith(f":{folder}")}
        assert len(shared) == 1
        assert shared <= set(probe["volumes"])
        exposed = " ".join(dockerfile()["probe"].arguments("EXPOSE")).split()
        assert {f"{site['bandwidth']}/tcp", f"{site['bandwidth']}/udp"} <= set(exposed)


def test_secrets_are_made_once(tmp_path) -> None:
    script = DEPLOY / "compose" / "make-secrets.sh"
    folder = tmp_path / "secrets"
    for _ in range(2):
        subprocess.run([script, folder], capture_output=True, check=True, umask=0o002)
        made = {file.name: file.read_bytes() for file in folder.iterdir()}
    names = {pathlib.Path(each["file"]).name for each in COMPOSE["secrets"].values()}
    assert set(made) == names
    assert all(len(octets) == 44 for octets in made.values())
    assert len(set(made.values())) == len(made)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert all(file.stat().st_mode & 0o777 == 0o444 for file in folder.iterdir())
    again = subprocess.run([script, folder], capture_output=True, text=True, check=True)
    assert again.stdout.count("is there already") == 2
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == made
    ignored = (DEPLOY / "compose" / "secrets" / ".gitignore").read_text().split()
    assert ignored == ["*", "!.gitignore"]
