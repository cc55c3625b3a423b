"""The dashboards against Grafana's own types, by its compiler; for developers with npm."""

from __future__ import annotations

import copy
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest

from dashboards.grafana.build import boards

PACKAGES = ("@grafana/schema@13.2.3", "typescript@5.9.3")
FOLDERS = {
    "timeseries": "timeseries",
    "heatmap": "heatmap",
    "stat": "stat",
    "table": "table",
    "state-timeline": "statetimeline",
    "geomap": "geomap",
    "text": "text",
}
# What the Prometheus data source reads of an annotation; the schema knows only what all have.
OF_THE_DATA_SOURCE = {"expr", "step", "titleFormat"}
HEAD = """
import type { Dashboard }
  from './node_modules/@grafana/schema/dist/types/raw/dashboard/x/types.gen';
type J<T> = T extends string ? `${T}` : T extends (infer U)[] ? J<U>[]
  : T extends object ? { [K in keyof T]: J<T[K]> } : T;
type P<T> = T extends string ? `${T}` : T extends (infer U)[] ? P<U>[]
  : T extends object ? { [K in keyof T]?: P<T[K]> } : T;
"""


@pytest.fixture(scope="module")
def npm_dir() -> pathlib.Path:
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    folder = pathlib.Path(tempfile.gettempdir()) / f"netslo-grafana-schema-{os.getuid()}"
    if not (folder / "node_modules/.bin/tsc").exists():
        folder.mkdir(exist_ok=True)
        command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", folder, *PACKAGES]
        try:
            done = subprocess.run(command, capture_output=True, check=False, timeout=45)
        except subprocess.TimeoutExpired:
            pytest.skip("npm does not bring the packages in time")
        if done.returncode:
            pytest.skip("npm cannot bring the packages")
    return folder


def compiled(folder: pathlib.Path, name: str, board: dict) -> list[str]:
    imports, body = [HEAD], [f"export const board: J<Dashboard> = {json.dumps(board)};"]
    for number, panel in enumerate(board["panels"]):
        if panel["type"] == "row":
            continue
        module = f"@grafana/schema/dist/types/raw/composable/{FOLDERS[panel['type']]}/panelcfg/x"
        types = (folder / "node_modules" / module / "types.gen.d.ts").read_text()
        parts = {"Options": panel["options"]}
        custom = panel.get("fieldConfig", {}).get("defaults", {}).get("custom")
        if custom and "interface FieldConfig" in types:
            parts["FieldConfig"] = custom
        for kind, value in parts.items():
            alias = f"{kind}{number}"
            imports.append(
                f"import type {{ {kind} as {alias} }} from './node_modules/{module}/types.gen';"
            )
            body.append(f"export const c{alias}: P<{alias}> = {json.dumps(value)};")
    file = folder / f"{name}.ts"
    file.write_text("\n".join([*imports, *body]))
    return [str(file)]


def first(board: dict, kind: str) -> dict:
    return next(panel for panel in board["panels"] if panel["type"] == kind)


# What is wrong in a board, so that we know that the compiler looks there.
WRONG = {
    "thresholds": lambda b: first(b, "stat")["fieldConfig"]["defaults"]["thresholds"].update(
        steps=""
    ),
    "option": lambda b: first(b, "stat")["options"].update(colorMode="rainbow"),
    "misspelt": lambda b: first(b, "table")["options"].update(showHaeder=True),
    "custom": lambda b: first(b, "timeseries")["fieldConfig"]["defaults"]["custom"].update(
        drawStyle=7
    ),
    "map": lambda b: first(b, "geomap")["options"]["view"].update(zoom="far"),
    "variable": lambda b: b["templating"]["list"][1].update(multi="yes"),
    "place": lambda b: b["panels"][0]["gridPos"].pop("w"),
    "annotation": lambda b: b["annotations"]["list"][0].pop("iconColor"),
}


def test_grafanas_compiler_finds_every_fault_and_none_in_ours(npm_dir, tmp_path) -> None:
    files = []
    made = boards((), "https://docs.example/runbooks")
    for board in made:
        for annotation in board["annotations"]["list"]:
            for key in OF_THE_DATA_SOURCE:
                annotation.pop(key, None)
        files += compiled(npm_dir, board["uid"], board)
    for name, spoil in WRONG.items():
        wrong = copy.deepcopy(made[0])
        spoil(wrong)
        files += compiled(npm_dir, f"wrong-{name}", wrong)
    flags = ["--noEmit", "--strict", "--skipLibCheck", "--target", "es2022", "--module", "esnext"]
    flags += ["--moduleResolution", "bundler"]
    tsc = npm_dir / "node_modules/.bin/tsc"
    done = subprocess.run([tsc, *flags, *files], capture_output=True, text=True, check=False)
    errors = [line for line in done.stdout.splitlines() if "error TS" in line]
    at_fault = {line.split("(")[0].rpartition("/")[2].removesuffix(".ts") for line in errors}
    assert at_fault == {f"wrong-{name}" for name in WRONG}, errors
