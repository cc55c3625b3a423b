"""The Kubernetes manifests: valid, restricted, and the same commands as docker-compose.yml."""

import copy
import pathlib
import re
import shutil
import subprocess

import pytest
import yaml
from deployment import DEPLOY, IMAGES, ROOT, SERVICES, containers, dockerfile, faults, kubernetes

from slo.commands.shared import log_of
from slo.exclusion_log import FILE_NAME

OBJECTS = kubernetes()
WORKLOADS = [each for each in OBJECTS if each["kind"] in {"Deployment", "StatefulSet"}]
NAMES = [f"{each['kind']} {each['metadata']['name']}" for each in OBJECTS]
SITES = ("london", "edinburgh")
each_workload = pytest.mark.parametrize("workload", WORKLOADS, ids=lambda w: w["metadata"]["name"])


def pod(workload):
    return workload["spec"]["template"]["spec"]


def labels(workload):
    return workload["spec"]["template"]["metadata"]["labels"]


@pytest.mark.parametrize("each", OBJECTS, ids=NAMES)
def test_it_keeps_to_the_types_of_kubernetes(each) -> None:
    assert not faults("kubernetes", each)


def test_the_schema_tells_faults() -> None:
    wrong = copy.deepcopy(WORKLOADS[0])
    pod(wrong)["containers"][0]["imagePullPolice"] = "Always"
    pod(wrong)["containers"][0]["ports"][0]["containerPort"] = "web"
    assert len(faults("kubernetes", wrong)) == 2


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kustomize_takes_all_of_it() -> None:
    done = subprocess.run(
        ["kubectl", "kustomize", "deploy"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if "unknown command" in done.stderr:
        pytest.skip("this kubectl has no kustomize")
    assert done.returncode == 0, done.stderr
    made = list(yaml.safe_load_all(done.stdout))
    assert len(made) == len(OBJECTS) + 2
    for each in made:
        assert not faults("kubernetes", each)
        assert each["kind"] == "Namespace" or each["metadata"]["namespace"] == "netslo"
    images = re.findall(r"image: (\S+)", done.stdout)
    assert all(":" in image for image in images)


def test_every_file_is_named_and_there() -> None:
    found = yaml.safe_load((DEPLOY / "kustomization.yaml").read_text())
    assert set(found["resources"]) == {
        f"kubernetes/{file.name}" for file in (DEPLOY / "kubernetes").iterdir()
    }
    maps = {each["name"]: each["files"] for each in found["configMapGenerator"]}
    assert all((DEPLOY / file).is_file() for files in maps.values() for file in files)
    slos = {f"estate/slos/{file.name}" for file in (DEPLOY / "estate" / "slos").iterdir()}
    assert set(maps["netslo-estate"]) == slos | {"estate/estate.yaml"}
    keys = {name: {file.rpartition("/")[2] for file in files} for name, files in maps.items()}
    for workload in WORKLOADS:
        for volume in pod(workload)["volumes"]:
            if "configMap" in volume and volume["name"] != "exclusions":  # made from the store's
                known = keys[volume["configMap"]["name"]]
                wanted = {item["key"] for item in volume["configMap"].get("items", [])}
                assert wanted <= known
                if volume["name"] == "estate":
                    assert wanted == known


def test_images_are_those_of_compose() -> None:
    found = yaml.safe_load((DEPLOY / "kustomization.yaml").read_text())["images"]
    tags = {each["name"]: each["newTag"] for each in found}
    compose = dict(service["image"].split(":") for service in SERVICES.values())
    assert tags == {name: tag for name, tag in compose.items() if name != "grafana/grafana"}
    assert {container["image"] for container in containers().values()} == set(tags)


@each_workload
def test_a_pod_is_restricted(workload) -> None:
    """What the Pod Security Standard `restricted` asks for, and read-only besides."""
    spec = pod(workload)
    context = spec["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    safe = {"net.ipv4.ping_group_range"}
    assert {each["name"] for each in context.get("sysctls", [])} <= safe
    kinds = {"configMap", "secret", "emptyDir", "persistentVolumeClaim"}
    assert all(set(volume) - {"name"} <= kinds for volume in spec["volumes"])
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }
        assert container["resources"]["limits"]["memory"]
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}


@each_workload
def test_a_pod_runs_as_its_image_says(workload) -> None:
    context, spec = pod(workload)["securityContext"], pod(workload)
    for container in spec["containers"]:
        known = IMAGES.get(container["image"])
        (ours,) = dockerfile()["base"].arguments("USER")
        user = known.user if known else ours
        assert user == f"{context['runAsUser']}:{context['runAsGroup']}"
        if known:
            assert container["ports"][0]["containerPort"] == known.port
            assert known.data in {each["mountPath"] for each in container["volumeMounts"]}


@each_workload
def test_what_is_mounted_is_there_and_what_is_there_is_mounted(workload) -> None:
    spec = pod(workload)
    claims = [c["metadata"]["name"] for c in workload["spec"].get("volumeClaimTemplates", [])]
    there = {volume["name"] for volume in spec["volumes"]} | set(claims)
    every = [*spec["containers"], *spec.get("initContainers", [])]
    assert {mount["name"] for each in every for mount in each["volumeMounts"]} == there
    for container in spec["containers"]:
        assert "livenessProbe" in container
        for name in ("startupProbe", "readinessProbe", "livenessProbe"):
            probe = container.get(name, {})
            port = (probe.get("httpGet") or probe.get("tcpSocket") or {}).get("port")
            assert port is None or port in {each["name"] for each in container["ports"]}


@each_workload
def test_selectors_meet_labels(workload) -> None:
    assert workload["spec"]["selector"]["matchLabels"] == labels(workload)
    named = workload["spec"].get("serviceName")
    for service in (each for each in OBJECTS if each["kind"] == "Service"):
        if service["metadata"]["name"] == named:
            assert service["spec"]["selector"] == labels(workload)
            break
    else:
        assert named is None


def test_commands_are_those_of_compose() -> None:
    """So what tests/deploy/test_deployed.py starts is what runs here, too."""
    found = containers("containers")
    for site in SITES:
        for role in ("probe", "reflector"):
            service = SERVICES[f"{role}-{site}"]
            assert found[f"site-{site}", role]["args"] == service["command"]
    for name in ("collector", "prometheus", "alertmanager", "webhook"):
        expected = [each for each in SERVICES[name]["command"] if "external-url" not in each]
        assert found[name, name]["args"] == expected
    configure = SERVICES["configure"]["entrypoint"] + SERVICES["configure"]["command"]
    made = [each["command"] for (_, name), each in containers().items() if name == "configure"]
    assert made == [configure] * 2


def test_alertmanager_may_have_a_copy_of_the_exclusions() -> None:
    (workload,) = (each for each in WORKLOADS if each["metadata"]["name"] == "alertmanager")
    (volume,) = (each for each in pod(workload)["volumes"] if each["name"] == "exclusions")
    assert volume["configMap"]["optional"] is True
    configure = containers("initContainers")["alertmanager", "configure"]
    (store,) = (each["value"] for each in configure["env"] if each["name"] == "NETSLO_STORE")
    (mount,) = (m["mountPath"] for m in configure["volumeMounts"] if m["name"] == "exclusions")
    assert log_of(pathlib.Path("/etc/netslo"), pathlib.Path(store)).parent == pathlib.Path(mount)
    documented = (ROOT / "docs" / "deploying.md").read_text()
    assert f"create configmap {volume['configMap']['name']} --from-file={FILE_NAME}" in documented


@pytest.mark.parametrize("site", SITES)
def test_a_reflector_is_reached_at_every_port_it_answers_at(site) -> None:
    container = containers("containers")[f"site-{site}", "reflector"]
    ports = {(each["containerPort"], each["protocol"]) for each in container["ports"]}
    (service,) = (
        each
        for each in OBJECTS
        if each["kind"] == "Service" and each["metadata"]["name"] == f"reflector-{site}"
    )
    named = {each["name"]: each for each in container["ports"]}
    for each in service["spec"]["ports"]:
        here = named[each["targetPort"]]
        assert (each["port"], each["protocol"]) == (here["containerPort"], here["protocol"])
    answers = dict(re.findall(r"--(listen|bandwidth)=0\.0\.0\.0:(\d+)", str(container["args"])))
    stamp, tests = int(answers["listen"]), int(answers["bandwidth"])
    assert ports == {(stamp, "UDP"), (tests, "TCP"), (tests, "UDP")}
    estate = yaml.safe_load((DEPLOY / "estate" / "estate.yaml").read_text())
    assert tests == {each["name"]: each["bandwidth"] for each in estate["sites"]}[site]


def test_the_sites_differ_by_their_names_only() -> None:
    texts = {
        (DEPLOY / "kubernetes" / f"site-{site}.yaml").read_text().replace(site, "SITE")
        for site in SITES
    }
    assert len(texts) == 1


def test_policies_let_through_what_must_and_nothing_else() -> None:
    policies = [each["spec"] for each in OBJECTS if each["kind"] == "NetworkPolicy"]
    assert {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} in policies

    def allowed(way, word):
        for policy in policies:
            for rule in policy.get(way, []):
                for port in rule["ports"]:
                    for peer in rule[word]:
                        if "namespaceSelector" in peer:
                            continue
                        here = policy["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
                        there = peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
                        ends = (here, there) if way == "egress" else (there, here)
                        yield (*ends, port["protocol"], port["port"])

    needed = {
        ("site", "site", "UDP", 8620),
        ("site", "site", "TCP", 8862),  # bandwidth tests
        ("site", "site", "UDP", 8862),
        ("site", "site", "UDP", 33434),  # traces of routes
        ("site", "collector", "TCP", 4318),
        ("prometheus", "collector", "TCP", 4318),
        ("prometheus", "alertmanager", "TCP", 9093),
        ("alertmanager", "webhook", "TCP", 9095),
    }
    assert set(allowed("egress", "to")) == set(allowed("ingress", "from")) == needed
    components = {labels(workload)["app.kubernetes.io/component"] for workload in WORKLOADS}
    assert {end for each in needed for end in each[:2]} == components
