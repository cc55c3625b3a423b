"""`netslo collect`: receive, keep, judge and publish."""

from __future__ import annotations

import asyncio
import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from netslo.app.commands.options import read_endpoint, read_url
from netslo.config.options import DATA_DIR, STORE_FILE, NumberRange, config_option, file_option
from netslo.model import Endpoint

if TYPE_CHECKING:
    from netslo.estate import Estate
    from slo.objective import Objective

    Configuration = tuple[Estate, Sequence[Objective]]


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
    type=NumberRange(min=1.0),
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

    SIGHUP reads estate, objectives and exclusions again. Under systemd use Type=notify-reload.
    """
    from analytics.collector.remote_writer import RemoteWrite
    from netslo.app.commands.options import make_directory
    from netslo.app.parts.collector import run_collector
    from netslo.app.renewal import Renewal
    from netslo.app.service import Service
    from netslo.config.estate_file import load_estate
    from slo.engine.alertmanager import alerts_url
    from slo.exclusion_log import FILE_NAME, load_exclusions
    from slo.rules.texts import Links
    from slo.spec import load_objectives

    def configured() -> Configuration:
        estate = load_estate(config_dir)
        return estate, load_objectives(config_dir, estate)

    first = configured()
    if store_file is None:
        store_file = make_directory(config_dir / DATA_DIR, "data") / STORE_FILE
    store = store_file
    for url in alertmanagers:
        alerts_url(url)
    links = Links(dashboard=dashboard) if runbooks is None else Links(runbooks, dashboard)
    remote_write = None
    if remote_write_url is not None:
        remote_write = RemoteWrite(remote_write_url, interval_s, instance=str(listen))

    async def live(
        config: Configuration,
        at: Endpoint,
        stop: asyncio.Event,
        on_ready: Callable[[Endpoint], None],
    ) -> None:
        await run_collector(
            *config,
            store,
            at,
            stop,
            on_ready,
            remote_write=remote_write,
            alertmanagers=alertmanagers,
            links=links,
        )

    def status(bound: Endpoint, config: Configuration) -> str:
        return (
            f"listening on http://{bound}, store {store}, "
            f"{len(config[0].paths)} paths, {len(config[1])} objectives"
        )

    async def run() -> None:
        renewal = Renewal(live, first, listen)

        async def reload() -> str:
            config = await asyncio.to_thread(configured)
            await asyncio.to_thread(load_exclusions, store.parent / FILE_NAME)
            return status(await renewal.renew(config), config)

        service = Service("collect", reload)
        service.listen()
        await renewal.run(service.stop, lambda bound: service.ready(status(bound, first)))

    asyncio.run(run())
