"""Makes the schemas beside this file from the originals; README.md says where those are.

python prune.py compose-spec.json _definitions.json
"""

import json
import pathlib
import re
import sys

KINDS = (
    "api.apps.v1.Deployment",
    "api.apps.v1.StatefulSet",
    "api.core.v1.ConfigMap",
    "api.core.v1.Namespace",
    "api.core.v1.Service",
    "api.networking.v1.NetworkPolicy",
    "api.policy.v1.PodDisruptionBudget",
)


def bare(node, *, in_properties=False):
    """Return a schema without prose; a property may be called `description`, too."""
    if isinstance(node, dict):
        return {
            key: bare(value, in_properties=key == "properties" and not in_properties)
            for key, value in node.items()
            if in_properties or key not in {"description", "x-kubernetes-group-version-kind"}
        }
    return [bare(value) for value in node] if isinstance(node, list) else node


def reachable(definitions, names):
    """Return what these definitions refer to, and they themselves."""
    found, waiting = {}, list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = bare(definitions[name])
            waiting += re.findall(r'"#/\$defs/([^"]+)"', json.dumps(found[name]))
    return dict(sorted(found.items()))


def lines(schema, key):
    """Return a schema as text: a line for each definition, so that changes can be read."""
    rest = json.dumps({name: value for name, value in schema.items() if name != key})[1:-1]
    each = (f"{json.dumps(name)}: {json.dumps(value)}" for name, value in schema[key].items())
    definitions = ",\n".join(each)
    return f'{{{rest + ", " if rest else ""}"{key}": {{\n{definitions}\n}}}}\n'


def main(compose_file, kubernetes_file):
    here = pathlib.Path(__file__).parent
    compose = bare(json.loads(pathlib.Path(compose_file).read_text()))
    definitions = json.loads(pathlib.Path(kubernetes_file).read_text())["$defs"]
    names = [f"io.k8s.{kind}" for kind in KINDS]
    kubernetes = {
        "$defs": reachable(definitions, names),
    }
    (here / "compose.json").write_text(lines(compose, "definitions"))
    (here / "kubernetes.json").write_text(lines(kubernetes, "$defs"))


if __name__ == "__main__":
    main(*sys.argv[1:])
