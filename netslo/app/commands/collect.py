"""`netslo collect`: receive, keep, judge and publish."""

from __future__ import annotations

import asyncio
import pathlib

import click

from netslo.app.commands.options import read_endpoint, read_url
from netslo.config.options import DATA_DIR, STORE_FILE, config_option, file_option
from netslo.model import Endpoint


@click.command()
@config_option
@click.option(
    "--listen",
    callback=read_endpoint,
    metavar="HOST:PORT",
    default="127.0.0.1:4318",
    show_default=True,
    help="Where probes deliver and people look; port 0 takes a free one.",
)
@file_option("--store", "store_file", f"The window store.  [default: DIR/{DATA_DIR}/{STORE_FILE}]")
@click.option(
    "--remote-write",
    "remote_write_url",
    callback=read_url,
    metavar="URL",
    help="Send all of /metrics to a Prometheus, too, such as http://HOST:9090/api/v1/write.",
)
@click.option(
    "--remote-write-interval",
    "interval_s",
    type=click.FloatRange(min=1.0),
    default=15.0,
    show_default=True,
    metavar="SECONDS",
    help="How often.",
)
@click.option(
    "--alertmanager",
    "alertmanagers",
    multiple=True,
    metavar="URL",
    help="Tell this Alertmanager of alerts, such as http://HOST:9093; repeatable.",
)
@click.option(
    "--runbooks", metavar="URL", help="Where alerts find their runbooks.  [default: docs/runbooks]"
)
@click.option("--dashboard", metavar="URL", help="What an alert of a path links to.")
def collect(
    config_dir: pathlib.Path,
    listen: Endpoint,
    store_file: pathlib.Path | None,
    remote_write_url: str | None,
    interval_s: float,
    alertmanagers: tuple[str, ...],
    runbooks: str | None,
    dashboard: str | None,
) -> None:
    """Receive windows from probes, keep them and publish what they say.

    Probes POST OTLP to /v1/metrics. People and Prometheus read /metrics, /healthz,
    /api/v1/paths, /api/v1/windows, /api/v1/slos and /api/v1/alerts.
    """
    from analytics.collector.remote_writer import RemoteWrite
    from netslo.app.commands.options import make_directory
    from netslo.app.parts.collector import run_collector
    from netslo.app.service import Service
    from netslo.config.estate_file import load_estate
    from slo.engine.alertmanager import alerts_url
    from slo.rules.texts import Links
    from slo.spec import load_objectives

    estate = load_estate(config_dir)
    objectives = load_objectives(config_dir, estate)
    if store_file is None:
        store_file = make_directory(config_dir / DATA_DIR, "data") / STORE_FILE

    for url in alertmanagers:
        alerts_url(url)
    links = Links(dashboard=dashboard) if runbooks is None else Links(runbooks, dashboard)
    remote_write = None
    if remote_write_url is not None:
        remote_write = RemoteWrite(remote_write_url, interval_s, instance=str(listen))

    async def run() -> None:
        service = Service("collect")
        service.listen()

        def announce(bound: Endpoint) -> None:
            service.ready(f"listening on http://{bound}, store {store_file}")

        await run_collector(
            estate,
            objectives,
            store_file,
            listen,
            service.stop,
            announce,
            remote_write=remote_write,
            alertmanagers=alertmanagers,
            links=links,
        )

    asyncio.run(run())
