"""`netslo dashboards`: files for Grafana."""

from __future__ import annotations

import pathlib

import click

from netslo.config.options import config_option


@click.group()
def dashboards() -> None:
    """Make dashboards for Grafana 12 and 13."""


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
def build(
    config_dir: pathlib.Path, output_dir: pathlib.Path, prometheus_url: str, mount: str
) -> None:
    """Write dashboards and the provisioning files that bring them into Grafana.

    The same objectives give the same octets; identifiers stay, so that links last.
    """
    from dashboards.grafana.build import files
    from netslo.config.estate_file import load_estate
    from netslo.errors import ConfigurationError
    from slo.spec import load_objectives

    if not prometheus_url.startswith(("http://", "https://")):
        raise click.BadParameter(f"--prometheus {prometheus_url!r} must be an http or https URL")
    if not mount.startswith("/"):
        raise click.BadParameter(f"--mount {mount!r} must be an absolute path")
    objectives = load_objectives(config_dir, load_estate(config_dir))
    made = files(objectives, prometheus_url, mount)
    for name, text in made.items():
        file = output_dir / name
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"{file}: cannot be written: {error.strerror}") from error
    count = sum(name.startswith("dashboards/") for name in made)
    click.echo(f"{count} dashboards for {len(objectives)} SLOs, and provisioning: {output_dir}")
