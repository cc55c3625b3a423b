"""`netslo webhook`: the end of the line for pages, where there is no pager yet."""

from __future__ import annotations

import asyncio

import click

from netslo.app.commands.options import read_endpoint
from netslo.model import Endpoint

_EVERY_S = 0.2


@click.command()
@click.option(
    "--listen",
    callback=read_endpoint,
    metavar="HOST:PORT",
    default="127.0.0.1:9095",
    show_default=True,
    help="Where Alertmanager delivers and people look; port 0 takes a free one.",
)
def webhook(listen: Endpoint) -> None:
    """Print what Alertmanager sends to its web hooks, until stopped.

    Each page and ticket once, with its budget, evidence and runbook; heartbeats are not shown.
    `GET /` has the last thousand lines.
    """
    from netslo.app.service import Service
    from netslo.app.webhook import Webhook

    async def run() -> None:
        service = Service("webhook")
        service.listen()
        with Webhook(listen) as hook:
            service.ready(f"listening on {hook.url}")
            while not service.stop.is_set():
                for line in hook.news():
                    service.say(line)
                await asyncio.sleep(_EVERY_S)

    asyncio.run(run())
