"""Draw docs/pictures: the collector's page and a preview of the dashboards, of a real demo.

It runs the demo with Prometheus, waits for the incident, and looks with chromium. Needs what
`make test` installs.
"""

import argparse
import asyncio
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from urllib.parse import urlencode

sys.path.append(str(pathlib.Path(__file__).parents[1] / "tests" / "support"))
from a_browser import Tab, browser

FOLDER = pathlib.Path(__file__).with_name("pictures")
UK = pathlib.Path(__file__).parents[1] / "examples" / "uk"
DURATION_S, AFTER_S, PATIENCE_S = 600, 75, 120
SIZE_MAX = 150_000
PATH = "london:edinburgh/ef"
CHOSEN = ("--var", f"path={PATH}", "--var", "site=london")
PAGES = [  # name, address, width, height or the whole, colours
    ("page-light", "/", 1280, 900, "light"),
    ("page-dark", "/", 1280, 900, "dark"),
    ("page-phone", "/", 360, 800, "light"),
    ("page-wide", "/", 2560, 1300, "light"),
    ("path-light", f"/paths/{PATH}", 1280, 1000, "light"),
    ("path-dark", f"/paths/{PATH}", 1280, 1000, "dark"),
    ("path-phone", f"/paths/{PATH}", 360, 800, "dark"),
]
BOARDS = ("on-call", "slo", "path", "site", "health", "catalogue")
LIVE = "document.getElementById('live').textContent.startsWith('live')"


def wait_for_scrapes(prometheus: str) -> None:
    """Wait until Prometheus has missed no scrape for a while: what it missed has no figures."""
    query = "min_over_time(up[20s]) == 1 and count_over_time(up[20s]) > 4"
    url = f"{prometheus}/api/v1/query?" + urlencode({"query": query})
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s:
        with urllib.request.urlopen(url) as answer:
            if json.load(answer)["data"]["result"]:
                return
        time.sleep(1)
    print("Prometheus misses scrapes, for this machine is busy: figures may be missing")


async def draw(page: str, prometheus: str, form: str) -> None:
    """Draw all of them."""
    with tempfile.TemporaryDirectory() as folder:
        preview = pathlib.Path(folder) / "preview.html"
        await netslo("dashboards", "build", "-c", UK, "-o", folder)
        asked = ("dashboards", "preview", folder, "-o", preview, "--prometheus", prometheus)
        await asyncio.to_thread(wait_for_scrapes, prometheus)
        await netslo(*asked, "--last", "4m", "--scrape-interval", "3s", *CHOSEN)
        async with browser(pathlib.Path(folder) / "profile") as tab:
            for name, address, width, height, colours in PAGES:
                await tab.look(width, height, scheme=colours)
                await tab.go(page + address)
                await tab.until(LIVE)
                await keep(tab, name, form, whole=False)
            await tab.look(1600, 900)
            await tab.go(preview.as_uri())
            for name in BOARDS:
                await tab.run(f"location.hash = 'netslo-{name}'")
                await tab.until(f"document.body.dataset.shown === 'netslo-{name}'")
                await asyncio.sleep(0.5)  # plots fit themselves to their places
                await keep(tab, f"preview-{name}", form, whole=True)
            assert not tab.complaints, tab.complaints


async def netslo(*arguments: object) -> None:
    command = [sys.executable, "-P", "-m", "netslo", *map(str, arguments)]
    process = await asyncio.create_subprocess_exec(*command)
    assert await process.wait() == 0, command


async def keep(tab: Tab, name: str, form: str, *, whole: bool) -> None:
    file = FOLDER / f"{name}.{form}"
    await tab.picture(file, whole=whole)
    size = file.stat().st_size
    assert form != "webp" or size <= SIZE_MAX, f"{file} has {size} octets"
    print(f"{size / 1e3:5.0f} kB  {file.name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--format", choices=("webp", "png"), default="webp")
    parser.add_argument("--into", type=pathlib.Path, default=FOLDER)
    asked = parser.parse_args()
    globals()["FOLDER"] = asked.into
    asked.into.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-P", "-m", "netslo", "demo", "--prometheus"]
    demo = subprocess.Popen(
        [*command, "--duration", str(DURATION_S)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert demo.stdout is not None
    try:
        said = ""
        for line in demo.stdout:
            said += line
            if "INCIDENT begins" in line:
                break
        page = re.search(r"Page at (http://\S+)/", said)
        prometheus = re.search(r"Prometheus at (http://[\d.:]+)", said)
        assert page, said
        assert prometheus, said
        time.sleep(AFTER_S)
        asyncio.run(draw(page[1], prometheus[1], asked.format))
    finally:
        demo.terminate()  # Ctrl-C may be ignored by who stands in the background
        demo.communicate()


if __name__ == "__main__":
    main()
