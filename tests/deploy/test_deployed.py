"""docker-compose.yml without an engine: its own command lines, on this host's programs.

Each service is started by the command, in the order and with the mounts that the file names; only
what a container would have given is replaced: paths by folders, names and ports by ports of
loopback. Where this process may, each has no capability and everything but its own writable mounts
is read-only, as the file demands. Prometheus and Alertmanager are Debian's, so what they do not
know yet is taken out, by name, in `OLDER`.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request

import pytest
import yaml
from deployment import COMPOSE, DEPLOY, IMAGES, ROOT, SERVICES, environment
from ports import free_port, free_udp_port
from real_prometheus import binary, run, wait_until

import analytics._kernels
import slo._kernels

OURS = [sys.executable, "-P", "-m", "netslo"]
PROGRAMS = {"prom/prometheus": ["prometheus"], "prom/alertmanager": ["prometheus-alertmanager"]}
OLDER = {"prometheus.yml": "  scrape_native_histograms: true\n"}  # Prometheus 2.42 has a flag
OLDER_FLAGS = {"prometheus": ["--enable-feature=native-histograms"]}
SOONER = (  # so that the test need not wait as long as a person would
    ("scrape_interval: 15s\n  scrape_timeout: 10s", "scrape_interval: 1s\n  scrape_timeout: 1s"),
    ("evaluation_interval: 15s", "evaluation_interval: 1s"),
    ("group_wait: 10s", "group_wait: 1s"),
)
CONTAINED = """
while [ "$1" != -- ]; do mount --bind "$1" "$1"; shift; done; shift
mount -o remount,bind,ro /
exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
"""


def contained(command, writable):
    """Return the command with all but some folders read-only, and without capabilities."""
    shell = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", CONTAINED, "sh"]
    return [*shell, *map(str, writable), "--", *command]


def can_contain():
    """Whether this process may: root, on a kernel that lets it mount."""
    if shutil.which("unshare") is None or shutil.which("setpriv") is None:
        return False
    trial = contained(["test", "!", "-w", "/etc"], [])
    return subprocess.run(trial, capture_output=True, check=False).returncode == 0


class Host:
    """Runs services of docker-compose.yml as processes, with a folder for all they have."""

    def __init__(self, folder):
        self.folder = folder
        self.processes = {}
        self.contains = can_contain()
        self.ports = {}
        for name, service in SERVICES.items():
            if name != "configure" and not name.startswith("probe-") and name != "grafana":
                udp = name.startswith("reflector-")
                self.ports[name] = (self._listens(service), (free_udp_port if udp else free_port)())
        self.tested = {  # where reflectors answer bandwidth tests; in the estate without a host
            name: (int(found[1]), free_port())
            for name, service in SERVICES.items()
            if (found := re.search(r"--bandwidth=0\.0\.0\.0:(\d+)", str(service.get("command"))))
        }

    def _listens(self, service):
        return int(re.search(r"0\.0\.0\.0:(\d+)", " ".join(service["command"]))[1])

    def here(self, text, service):
        """Return a text with this host's paths and ports for those of a container."""
        for name, (inside, outside) in self.tested.items():
            text = re.sub(rf'({name}:\d+"\]\n +bandwidth: ){inside}\b', rf"\g<1>{outside}", text)
            if name == service:
                text = text.replace(f"0.0.0.0:{inside}", f"127.0.0.1:{outside}")
        for name, (inside, outside) in self.ports.items():
            text = text.replace(f"{name}:{inside}", f"127.0.0.1:{outside}")
        if service in self.ports:
            inside, outside = self.ports[service]
            text = text.replace(f"0.0.0.0:{inside}", f"127.0.0.1:{outside}")
            text = re.sub(rf"127\.0\.0\.1:{inside}\b", f"127.0.0.1:{outside}", text)
        for target, source in self.mounts(service).items():
            text = re.sub(rf"(?<![\w/.]){re.escape(target)}(?![\w.-])", str(source), text)
        return text

    def mounts(self, service):
        """Return this host's place of each path which the container is given."""
        found = {"/tmp": self.folder / "tmp" / service}
        for secret in SERVICES[service].get("secrets", ()):
            file = pathlib.Path(COMPOSE["secrets"][secret]["file"]).name
            found[f"/run/secrets/{secret}"] = self.folder / "secrets" / file
        for volume in SERVICES[service].get("volumes", ()):
            source, target, *_ = volume.split(":")
            kind = "bound" if source.startswith(".") else "volumes"
            found[target] = self.folder / kind / source.removeprefix("./")
        return found

    def prepare(self):
        script = DEPLOY / "compose" / "make-secrets.sh"
        subprocess.run([script, self.folder / "secrets"], capture_output=True, check=True)
        for name, service in SERVICES.items():
            (self.folder / "tmp" / name).mkdir(parents=True)
            for volume in service.get("volumes", ()):
                source, target, *_ = volume.split(":")
                place = self.mounts(name)[target]
                if source.startswith("."):
                    self._bind(ROOT / source, place, name)
                else:
                    place.mkdir(parents=True, exist_ok=True)

    def _bind(self, source, place, service):
        """Copy what would be mounted, with this host's paths and ports."""
        files = [source] if source.is_file() else [f for f in source.rglob("*") if f.is_file()]
        for file in files:
            copy = place if source.is_file() else place / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            text = file.read_text()
            if name := next((each for each in OLDER if file.name == each), None):
                assert OLDER[name] in text
                text = text.replace(OLDER[name], "")
            # The key is a secret of the services that read the estate to measure.
            reader = "probe-london" if "estate" in file.parts else service
            copy.write_text(self.sooner(self.here(text, reader)))

    def sooner(self, text):
        for old, new in SOONER:
            text = text.replace(old, new)
        return text

    def environment(self, service):
        every = environment() | SERVICES[service].get("environment", {})
        given = {key: self.here(value, service) for key, value in every.items()}
        given |= {"PATH": f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"}
        given |= {"NUMBA_CACHE_DIR": os.environ.get("NUMBA_CACHE_DIR", "")}  # this host's own
        if SERVICES[service]["image"].startswith("netslo-probe:"):
            given["NETSLO_NUMBA"] = "0"  # as in the image
        return {**os.environ, **{key: value for key, value in given.items() if value}}

    def writable(self, name):
        """Return the folders in which a service may write."""
        service, mounts = SERVICES[name], self.mounts(name)
        modes = {v.split(":")[1]: v.split(":")[2:] for v in service.get("volumes", ())}
        found = [mounts["/tmp"], *(mounts[target] for target, mode in modes.items() if not mode)]
        if "/var/cache/netslo" in modes:  # on this host the kernels' folder is beside them
            found += [pathlib.Path(p.__file__).parent for p in (analytics._kernels, slo._kernels)]
        return found

    def command(self, name):
        command = self.plain_command(name)
        return contained(command, self.writable(name)) if self.contains else command

    def plain_command(self, name):
        service = SERVICES[name]
        image = service["image"].partition(":")[0]
        arguments = [self.here(each, name) for each in service["command"]]
        if "entrypoint" in service:
            assert service["entrypoint"] == ["netslo-generate"]
            return [str(DEPLOY / "generate.sh"), *arguments]
        if image in PROGRAMS:
            return [binary(*PROGRAMS[image]), *arguments, *OLDER_FLAGS.get(name, [])]
        return [*OURS, *arguments]

    def start(self, name):
        log = self.folder / f"{name}.log"
        with log.open("wb") as out:
            self.processes[name] = subprocess.Popen(
                self.command(name),
                cwd=self.folder,
                env=self.environment(name),
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def needs(self, name):
        return SERVICES[name].get("depends_on", {})

    def await_condition(self, name, condition):
        if condition == "service_healthy":
            wait_until(lambda: self.healthy(name), f"{name} is healthy")
            return
        assert condition == "service_completed_successfully"
        assert self.processes[name].wait(200) == 0, self.log(name)
        file = self.folder / "volumes/generated/alertmanager/alertmanager.yml"
        file.write_text(self.sooner(self.here(file.read_text(), "alertmanager")))

    def log(self, name):
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def healthy(self, name):
        """Whether the service's own health check is content."""
        assert self.processes[name].poll() is None, self.log(name)
        test = [self.here(each, name) for each in SERVICES[name]["healthcheck"]["test"]]
        assert test.pop(0) == "CMD"
        if test[0] == "netslo":
            environ = self.environment(name)
            done = subprocess.run([*OURS, *test[1:]], env=environ, capture_output=True, check=False)
            return done.returncode == 0
        try:
            with urllib.request.urlopen(test[-1], timeout=30) as answer:
                return answer.status == 200
        except OSError:
            return False

    def get(self, name, path, data=None):
        url = f"http://127.0.0.1:{self.ports[name][1]}{path}"
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read().decode()

    def query(self, expression):
        quoted = urllib.parse.quote(expression)
        return json.loads(self.get("prometheus", f"/api/v1/query?query={quoted}"))["data"]["result"]

    def end(self):
        """End them as Compose does: who needs others goes first."""
        while self.processes:
            needed = {other for name in self.processes for other in self.needs(name)}
            last = [name for name in self.processes if name not in needed]
            for name in last:
                self.processes[name].terminate()
            for name in last:
                process = self.processes.pop(name)
                try:
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """All services but Grafana, started in the order that depends_on asks for."""
    host = Host(tmp_path_factory.mktemp("compose"))
    host.prepare()
    waiting = [name for name in SERVICES if name != "grafana"]
    try:
        while waiting:
            ready = [name for name in waiting if not set(host.needs(name)) & set(waiting)]
            for name in ready:
                for other, how in host.needs(name).items():
                    host.await_condition(other, how["condition"])
                host.start(name)
                waiting.remove(name)
        yield host
    finally:
        host.end()


def rules(host):
    return (host.folder / "volumes/generated/prometheus/netslo-rules.yml").read_text()


def test_generated_files_are_taken_by_those_who_read_them(host) -> None:
    generated = host.folder / "volumes" / "generated"
    checked = run("promtool", "check", "rules", generated / "prometheus" / "netslo-rules.yml")
    assert checked.returncode == 0, checked.stderr
    config = host.mounts("prometheus")["/etc/prometheus/prometheus.yml"]
    scraped = run("promtool", "check", "config", config)
    assert scraped.returncode == 0, scraped.stdout + scraped.stderr
    assert f"{generated}/prometheus/netslo-rules.yml" in scraped.stdout
    routed = run("amtool", "check-config", generated / "alertmanager" / "alertmanager.yml")
    assert routed.returncode == 0, routed.stderr


def test_grafana_finds_what_it_is_told_to_read(host) -> None:
    given = SERVICES["grafana"]["environment"]
    generated = host.mounts("grafana")["/generated"]
    provisioning = pathlib.Path(host.here(given["GF_PATHS_PROVISIONING"], "grafana"))
    home = given["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert json.loads(pathlib.Path(host.here(home, "grafana")).read_text())["panels"]
    (provider,) = (provisioning / "dashboards").iterdir()
    path = yaml.safe_load(provider.read_text())["providers"][0]["options"]["path"]
    # `configure` has this host's path for /generated, as a container has its own
    assert pathlib.Path(path) == generated / "grafana" / "dashboards"
    assert len(list(pathlib.Path(path).glob("*.json"))) >= 6
    linked = set(re.findall(r"http://127\.0\.0\.1:(\d+)/d/([\w-]+)\?", rules(host)))
    boards = [json.loads(file.read_text()) for file in pathlib.Path(path).glob("*.json")]
    assert len(linked) == 1
    for port, uid in linked:
        assert f"127.0.0.1:{port}:{IMAGES['grafana/grafana'].port}" in SERVICES["grafana"]["ports"]
        (board,) = [board for board in boards if board["uid"] == uid]
        assert {"slo", "path"} <= {each["name"] for each in board["templating"]["list"]}
    (source,) = (provisioning / "datasources").iterdir()
    urls = [each["url"] for each in yaml.safe_load(source.read_text())["datasources"]]
    assert urls == [
        f"http://prometheus:{IMAGES['prom/prometheus'].port}",
        f"http://alertmanager:{IMAGES['prom/alertmanager'].port}",
    ]
    assert not (provisioning / "alerting").exists()  # Alertmanager tells


@pytest.mark.parametrize(
    "name", [n for n, s in SERVICES.items() if n not in {"configure", "grafana"}]
)
def test_health_checks_become_content(host, name) -> None:
    wait_until(lambda: host.healthy(name), f"{name} is healthy")


def test_what_is_measured_arrives_in_prometheus(host) -> None:
    def answered():
        found = host.query('network_probe_packets_total{outcome="answered"} > 0')
        return len(found) == 4 and {each["metric"]["path"] for each in found}

    assert wait_until(answered, "all four paths are there") == {
        f"{a}:{b}/{c}" for a, b in (("london", "edinburgh"), ("edinburgh", "london"))
        for c in ("ef", "be")
    }  # fmt: skip
    native = "sum(histogram_count(network_probe_rtt_seconds)) > 0"
    wait_until(lambda: host.query(native), "native histograms are there")
    wait_until(lambda: host.query('up{job="netslo"} == 1'), "the collector is up")


def test_a_shell_beside_the_probe_tests_bandwidth_as_its_site(host) -> None:
    """As `docker compose exec probe-london netslo measure bandwidth reflector-edinburgh ...`."""
    mounts = host.mounts("probe-london")
    where = f"127.0.0.1:{host.tested['reflector-edinburgh'][1]}"
    options = ["--octets", "5MB", "--seconds", "1", "--no-latency", "--json"]
    state = ["--state", str(mounts["/var/lib/netslo"])]
    keyless = [*OURS, "measure", "bandwidth", where, *options, *state]
    command = [*keyless, "--key-file", str(mounts["/run/secrets/stamp_key"])]
    environ = host.environment("probe-london")
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    (found,) = json.loads(done.stdout)["directions"]
    assert found["received"]["octets"] > 1_000_000, done.stderr
    refused = subprocess.run(keyless, env=environ, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "wants a key" in refused.stderr


def test_rules_are_loaded_and_alertmanager_is_known(host) -> None:
    def told(path, key):
        return json.loads(host.get("prometheus", f"/api/v1/{path}"))["data"][key]

    names = {"netslo-fast", "netslo-medium", "netslo-slow", "netslo-coverage", "netslo-health"}
    assert {group["name"] for group in told("rules", "groups")} == names
    known = wait_until(lambda: told("alertmanagers", "activeAlertmanagers"), "it is known")
    assert [each["url"] for each in known] == [
        f"http://127.0.0.1:{host.ports['alertmanager'][1]}/api/v2/alerts"
    ]


def test_an_exclusion_beside_the_store_mutes_once_configured_anew(host) -> None:
    """As `docker compose exec collector netslo slo exclude ...` and `run --rm configure`."""
    mounts = host.mounts("collector")
    where = ["-c", str(mounts["/etc/netslo"])]
    where += ["--store", str(mounts["/var/lib/netslo"] / "store.sqlite")]
    when = ["--from", "2036-12-01T01:00:00Z", "--to", "2036-12-01T03:00:00Z"]
    said = ["--reason", "CHG-7", "--author", "alice", "--site", "london"]
    command = [*OURS, "slo", "exclude", *where, *when, *said, "--json"]
    environ = host.environment("collector")
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    host.start("configure")
    assert host.processes["configure"].wait(200) == 0, host.log("configure")
    made = host.folder / "volumes/generated/alertmanager/alertmanager.yml"
    (interval,) = yaml.safe_load(made.read_text())["time_intervals"]
    assert interval["name"] == f"exclusion-{json.loads(done.stdout)['id']}"


def test_a_page_reaches_who_shows_it(host) -> None:
    labels = {"alertname": "SLOCollectorDown", "severity": "page"}
    alerts = [{"labels": labels, "annotations": {"summary": "nothing is measured"}}]
    host.get("alertmanager", "/api/v2/alerts", json.dumps(alerts).encode())
    line = "Alertmanager to operations: PAGE SLOCollectorDown: nothing is measured"
    wait_until(lambda: line in host.get("webhook", "/"), "the page is shown")
    wait_until(lambda: line in host.log("webhook"), "and logged")


def test_services_have_no_capability_and_write_in_their_mounts_only(host) -> None:
    if not host.contains:
        pytest.skip("needs root, and a kernel that lets it mount")
    checked = 0
    for process in host.processes.values():
        status = pathlib.Path(f"/proc/{process.pid}/status")
        if process.poll() is None:
            wait_until(
                lambda status=status: re.search(r"CapEff:\t0+\n", status.read_text()),
                "it has no capability",
            )
            assert re.search(r"^NoNewPrivs:\t1$", status.read_text(), re.MULTILINE)
            mounts = pathlib.Path(f"/proc/{process.pid}/mountinfo").read_text().splitlines()
            (root,) = [line.split()[5] for line in mounts if line.split()[4] == "/"]
            assert "ro" in root.split(",")
            checked += 1
    assert checked == len(SERVICES) - 2  # neither what has ended nor Grafana
