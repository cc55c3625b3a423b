"""Draw docs/demo.svg: the live view of a real run of the demo, in the middle of its incident."""

import pathlib
import re
import subprocess
import sys
import tempfile
import time
from importlib import resources

from rich.console import Console

from analytics.store.sqlite import SqliteStore
from dashboards.terminal import render
from netslo.app.watch import Watch
from netslo.config.estate_file import load_estate
from slo.spec import load_objectives

DURATION_S, AT_S = 150, 85
WIDTH, HEIGHT = 112, 24
TITLE = "netslo demo · nine UK sites over an emulated WAN"


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as data,
        resources.as_file(resources.files("netslo.app") / "uk") as uk,
    ):
        estate = load_estate(uk)
        command = [sys.executable, "-P", "-m", "netslo", "demo", "--duration", str(DURATION_S)]
        demo = subprocess.Popen([*command, "--data", data], stdout=subprocess.PIPE, text=True)
        assert demo.stdout is not None
        log = [next(line for line in demo.stdout if "INCIDENT" in line).strip()]
        began_s = time.time() - 50
        log.append(next(line for line in demo.stdout if "seen after" in line).strip())
        time.sleep(max(0.0, began_s + AT_S - time.time()))
        store = SqliteStore.open(pathlib.Path(data) / "store.sqlite", readonly=True)
        watch = Watch(store, estate, load_objectives(uk, estate), began_s)
        watch.refresh()
        view = watch.view(TITLE, time.time(), began_s + DURATION_S, log)
        store.close()
        demo.stdout.read()
        demo.wait()
    console = Console(record=True, width=WIDTH, height=HEIGHT, force_terminal=True)
    console.print(render(view, HEIGHT, WIDTH))
    drawing = console.export_svg(title="netslo demo")
    drawing = re.sub(r"@font-face \{.*?\}", "", drawing, flags=re.DOTALL)  # no font from elsewhere
    pathlib.Path(__file__).with_name("demo.svg").write_text(drawing)


if __name__ == "__main__":
    main()
