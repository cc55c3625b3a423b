"""`netslo dashboards`: files for Grafana, and how they look."""

from __future__ import annotations

import pathlib
import time
from importlib.util import find_spec
from typing import Final

import click

from netslo.config.options import NumberRange, config_option
from netslo.errors import ConfigurationError
from netslo.units import parse_duration

_NEEDED: Final = {"plotly": "plotly", "jinja2": "Jinja2"}  # of the preview, by module
_AT_S_MAX: Final = 253_402_300_799  # the last second of the year 9999


@click.group()
def dashboards() -> None:
    """Make dashboards for Grafana 12 and 13, and look at them without one."""


@dashboards.command()
@config_option
@click.option(
    "-o",
    "output_dir",
    type=click.Path(path_type=pathlib.Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="Write the files into DIR.",
)
@click.option(
    "--prometheus",
    "prometheus_url",
    metavar="URL",
    default="http://prometheus:9090",
    show_default=True,
    help="Where Grafana finds Prometheus.",
)
@click.option(
    "--mount",
    metavar="PATH",
    default="/var/lib/grafana/dashboards/netslo",
    show_default=True,
    help="Where Grafana will see DIR/dashboards.",
)
@click.option(
    "--runbooks",
    metavar="URL",
    help="Where people find docs/runbooks: panels then link to the alerts' runbooks.",
)
@click.option(
    "--alertmanager",
    "alertmanager_url",
    metavar="URL",
    help="Where Grafana finds Alertmanager: it then shows its alerts, and can silence them.",
)
@click.option(
    "--contact-point",
    "contact_url",
    metavar="URL",
    help="Without Alertmanager: let Grafana's own alerting tell this web hook what fires.",
)
def build(
    config_dir: pathlib.Path,
    output_dir: pathlib.Path,
    prometheus_url: str,
    mount: str,
    runbooks: str | None,
    alertmanager_url: str | None,
    contact_url: str | None,
) -> None:
    """Write dashboards and the provisioning files that bring them into Grafana.

    The same objectives give the same octets; identifiers stay, so that links last.
    """
    from dashboards.grafana.build import Surroundings, files
    from netslo.config.estate_file import load_estate
    from slo.commands.shared import slo_count
    from slo.spec import load_objectives

    for option, url in (
        ("--prometheus", prometheus_url),
        ("--runbooks", runbooks),
        ("--alertmanager", alertmanager_url),
        ("--contact-point", contact_url),
    ):
        if url is not None and not url.startswith(("http://", "https://")):
            raise click.BadParameter(f"{option} {url!r} must be an http or https URL")
    if not mount.startswith("/"):
        raise click.BadParameter(f"--mount {mount!r} must be an absolute path")
    objectives = load_objectives(config_dir, load_estate(config_dir))
    around = Surroundings(prometheus_url, mount, runbooks, alertmanager_url, contact_url)
    made = files(objectives, around)
    for name, text in made.items():
        _write(output_dir / name, text)
    count = sum(name.startswith("dashboards/") for name in made)
    click.echo(f"{count} dashboards for {slo_count(objectives)}, and provisioning: {output_dir}")


@dashboards.command()
@click.argument(
    "directory", type=click.Path(path_type=pathlib.Path, file_okay=False), metavar="DIR"
)
@click.option(
    "--prometheus",
    "prometheus_url",
    metavar="URL",
    default="http://127.0.0.1:9090",
    show_default=True,
    help="The Prometheus to ask.",
)
@click.option(
    "-o",
    "output_file",
    type=click.Path(path_type=pathlib.Path, dir_okay=False),
    required=True,
    metavar="FILE",
    help="Write the page into FILE.",
)
@click.option(
    "--last", metavar="DURATION", default="1h", show_default=True, help="How far to look back."
)
@click.option(
    "--at",
    "at_s",
    type=NumberRange(0, _AT_S_MAX),
    metavar="UNIX",
    help="Look back from then, Unix seconds.  [now]",
)
@click.option(
    "--scrape-interval",
    metavar="DURATION",
    default="15s",
    show_default=True,
    help="How often Prometheus scrapes: rates look over four times that.",
)
@click.option(
    "--var",
    "variables",
    multiple=True,
    metavar="NAME=VALUE",
    help="Choose a variable's value, such as path=london:leeds/ef; again for more values.",
)
def preview(
    directory: pathlib.Path,
    prometheus_url: str,
    output_file: pathlib.Path,
    last: str,
    at_s: float | None,
    scrape_interval: str,
    variables: tuple[str, ...],
) -> None:
    """Draw dashboards that were built into DIR, with data, as one page that needs no network.

    It asks a Prometheus what Grafana would ask, and draws it with plotly. It shows whether every
    panel has data and makes sense; colours and places are near to Grafana's, not the same.
    """
    _check_extra()
    from dashboards.preview.boards import load_boards
    from dashboards.preview.page import preview as asked
    from dashboards.preview.page import to_html
    from dashboards.preview.prometheus import Prometheus
    from dashboards.preview.variables import Span

    end_s = time.time() if at_s is None else at_s
    span = Span(
        end_s - _duration("--last", last), end_s, _duration("--scrape-interval", scrape_interval)
    )
    prometheus = Prometheus(prometheus_url)
    boards = asked(load_boards(directory), prometheus, span, _chosen(variables))
    _write(output_file, to_html(boards, prometheus, span))
    count = sum(len(board.panels) for board in boards)
    click.echo(f"{len(boards)} dashboards, {count} panels: {output_file}")
    failures = [f"{board.title}: {title}" for board in boards for title in board.failures]
    if failures:
        raise ConfigurationError("Prometheus refused: " + "; ".join(failures))


def _check_extra() -> None:
    for module, package in _NEEDED.items():
        if find_spec(module) is None:
            raise ConfigurationError(
                f"dashboards preview needs {package}. Run: pip install 'netslo[preview]'"
            )


def _duration(option: str, text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(f"{option}: {error}") from error


def _chosen(variables: tuple[str, ...]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in variables:
        name, equals, value = each.partition("=")
        if not (name and equals and value):
            raise click.BadParameter(f"--var {each!r} must be NAME=VALUE")
        found.setdefault(name, []).append(value)
    return found


def _write(file: pathlib.Path, text: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be written: {error.strerror}") from error
