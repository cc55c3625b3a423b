"""The deployment's files as data, and what the images that are not ours say of themselves."""

from __future__ import annotations

import json
import pathlib
import re
import shlex
from dataclasses import dataclass
from typing import Any

import jsonschema
import yaml

ROOT = pathlib.Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SCHEMAS = ROOT / "tests" / "deploy" / "schemas"
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


@dataclass(frozen=True)
class Image:
    """What an image's documentation and its Dockerfile say: user, port, where it keeps data."""

    user: str
    port: int
    data: str
    programs: frozenset[str]  # what a health check may call


IMAGES = {
    # prom/*: USER nobody, VOLUME and EXPOSE of their Dockerfiles, on busybox.
    "prom/prometheus": Image("65534:65534", 9090, "/prometheus", frozenset({"wget", "promtool"})),
    "prom/alertmanager": Image("65534:65534", 9093, "/alertmanager", frozenset({"wget", "amtool"})),
    # grafana.com/docs: user 472, group root since 7.3, GF_PATHS_DATA; on Alpine.
    "grafana/grafana": Image("472:0", 3000, "/var/lib/grafana", frozenset({"wget", "curl"})),
}


@dataclass(frozen=True)
class Stage:
    """One FROM of a Dockerfile, with its instructions in order."""

    name: str
    parent: str
    instructions: tuple[tuple[str, str], ...]

    def arguments(self, instruction: str) -> list[str]:
        return [text for name, text in self.instructions if name == instruction]


def dockerfile() -> dict[str, Stage]:
    """Return the stages of deploy/Dockerfile by name."""
    text = re.sub(r"^\s*#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)
    stages: dict[str, Stage] = {}
    name, parent, instructions = "", "", []
    for line in re.sub(r"\\\n", " ", text).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            if name:
                stages[name] = Stage(name, parent, tuple(instructions))
            parent, _, name = rest.partition(" AS ")
            instructions = []
        elif word:
            instructions.append((word, rest.strip()))
    stages[name] = Stage(name, parent, tuple(instructions))
    return stages


def environment() -> dict[str, str]:
    """Return what our images set for every process."""
    pairs = " ".join(dockerfile()["base"].arguments("ENV"))
    return dict(pair.split("=", 1) for pair in shlex.split(pairs))


def kubernetes() -> list[dict[str, Any]]:
    """Return the objects of every manifest that deploy/kustomization.yaml names."""
    listed = yaml.safe_load((DEPLOY / "kustomization.yaml").read_text())["resources"]
    return [
        each for name in listed for each in yaml.safe_load_all((DEPLOY / name).read_text()) if each
    ]


def containers(kind: str | None = None) -> dict[tuple[str, str], dict[str, Any]]:
    """Return containers by (workload, container); `kind` is `containers` or `initContainers`."""
    kinds = [kind] if kind else ["containers", "initContainers"]
    return {
        (each["metadata"]["name"], container["name"]): container
        for each in kubernetes()
        if each["kind"] in {"Deployment", "StatefulSet"}
        for kind in kinds
        for container in each["spec"]["template"]["spec"].get(kind, [])
    }


def faults(schema: str, data: Any) -> list[str]:
    """Return what a file violates of a schema in tests/deploy/schemas."""
    loaded = json.loads((SCHEMAS / f"{schema}.json").read_text())
    if schema == "kubernetes":
        (name,) = [name for name in loaded["$defs"] if name.endswith(f".{data['kind']}")]
        loaded = {"$ref": f"#/$defs/{name}", "$defs": loaded["$defs"]}
        checker: Any = jsonschema.Draft202012Validator(loaded)
    else:
        checker = jsonschema.Draft7Validator(loaded)
    return [f"{error.json_path}: {error.message}" for error in checker.iter_errors(data)]
