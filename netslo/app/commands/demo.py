"""`netslo demo`: the whole of netslo on one machine in three minutes."""

from __future__ import annotations

import pathlib

import click

from netslo.config.options import NumberRange, directory_option, file_option
from netslo.model import WINDOW_S

_DURATION_S_MIN = 3 * WINDOW_S


@click.command()
@click.option(
    "--duration",
    "duration_s",
    type=NumberRange(min=_DURATION_S_MIN),
    default=180.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to measure.",
)
@file_option("--json", "json_file", "Write the final state to FILE.")
@directory_option(
    "--data",
    "data_dir",
    "Keep store and spool in DIR; by default they go when the demo ends.",
)
@click.option(
    "--prometheus",
    "with_prometheus",
    is_flag=True,
    help="Run Prometheus and Alertmanager beside it, with the rules and routes made for them.",
)
@click.option("--seed", type=int, default=None, help="Make the emulated network repeatable.")
def demo(
    duration_s: float,
    json_file: pathlib.Path | None,
    data_dir: pathlib.Path | None,
    seed: int | None,
    *,
    with_prometheus: bool,
) -> None:
    """Measure nine UK sites on an emulated WAN, break one path, show what it costs.

    Every packet is real STAMP over loopback; the WAN between the sites is emulated in user
    space and logs every packet, so that the end compares what was measured with the truth.
    One path goes over a real link instead, where this host grants network namespaces: its
    capacity, loaded latency and route are measured, and the incident changes its route.
    Needs no root and no other service, but what --prometheus asks for. Ctrl-C ends it early
    with the same summary.
    """
    from netslo.app.demo import run_demo

    run_demo(duration_s, json_file, data_dir, seed, with_prometheus=with_prometheus)
