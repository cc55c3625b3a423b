"""`netslo slo rules` and `netslo slo alertmanager`: files for Prometheus and Alertmanager."""

from __future__ import annotations

import pathlib
import re
import shlex
from collections.abc import Sequence

import click

from netslo.config.options import NumberRange, config_option, directory_option, file_option
from slo.commands.shared import load, load_log, slo_count, store_option
from slo.web_address import is_url

_RULE_FILE = "netslo-rules.yml"
_HEAD = "Made by `netslo slo {}`: do not edit, make it anew when objectives change."
_BINDING = re.compile(r"(?:((?!https?://).+?)=)?(https?://\S+)\Z")  # a name may have spaces
_OTHERS = ""  # the name of receivers that are not named


def prometheus_commands() -> Sequence[click.Command]:
    """Return the commands of this module."""
    return (rules, alertmanager)


@click.command()
@config_option
@directory_option("-o", "output_dir", "Write the files into DIR.")
@click.option("--tests", is_flag=True, help="Write cases for `promtool test rules`, too.")
@click.option(
    "--runbooks",
    metavar="URL",
    default="docs/runbooks",
    show_default=True,
    help="Where runbooks are; the alert's name and .md are added.",
)
@click.option("--dashboard", metavar="URL", help="The dashboard of an SLO; by default a graph.")
@click.option(
    "--interval",
    "fast_s",
    type=NumberRange(min=1.0, max=240.0),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How often pairs up to 1 h are looked at; to 6 h a third as often, of days every 4 min.",
)
def rules(
    config_dir: pathlib.Path,
    output_dir: pathlib.Path | None,
    runbooks: str,
    dashboard: str | None,
    fast_s: float,
    *,
    tests: bool,
) -> None:
    """Write recording and alerting rules: as many for ten paths as for ten thousand.

    Without -o the rules go to standard output. Thresholds come from the collector's metrics, so
    a changed target needs no new rules; changed windows do.
    """
    from slo.rules.cases import test_files
    from slo.rules.layout import Timing
    from slo.rules.rules import rule_file
    from slo.rules.texts import Links
    from slo.rules.yaml_text import to_yaml

    estate, specification = load(config_dir)
    objectives = specification.objectives
    timing = Timing(fast_s=fast_s)
    made = rule_file(objectives, timing, Links(runbooks, dashboard))
    head = _HEAD.format("rules")
    if output_dir is None:
        if tests:
            raise click.UsageError("--tests needs -o DIR: tests name the file of the rules")
        click.echo(to_yaml(made, head), nl=False)
        return
    files = {_RULE_FILE: to_yaml(made, head)}
    if tests:
        for name, case in test_files(objectives, estate, _RULE_FILE).items():
            files[f"netslo-rules-test-{name}.yml"] = to_yaml(case, head)
    for name, text in files.items():
        _write(output_dir / name, text)
    count = sum(len(group["rules"]) for group in made["groups"])
    click.echo(f"{count} rules for {slo_count(objectives)}: {output_dir / _RULE_FILE}")


@click.command()
@config_option
@store_option
@file_option("-o", "output_file", "Write the configuration to FILE.")
@click.option(
    "--webhook",
    "webhooks",
    multiple=True,
    metavar="[RECEIVER=]URL",
    help="Where a receiver is told, such as operations=http://pager/; repeatable. Without a "
    "name: every receiver that is not named.",
)
def alertmanager(
    config_dir: pathlib.Path,
    store_file: pathlib.Path | None,
    output_file: pathlib.Path | None,
    webhooks: tuple[str, ...],
) -> None:
    """Write Alertmanager's configuration: routes, inhibition, mutes for exclusions to come.

    Exclusions are those of the SLO documents and of the log beside the store.

    Receivers are `operations`, `escalation`, `heartbeat` and the owners of objectives. One
    without a --webhook has no address yet, and you are told.
    """
    import time

    from slo.rules.alertmanager import Receivers, configuration
    from slo.rules.yaml_text import to_yaml

    objectives = load(config_dir)[1].objectives
    bound = _bindings(webhooks)
    others = bound.pop(_OTHERS, None)
    known = [receiver["name"] for receiver in configuration(objectives)["receivers"]]
    if strange := sorted(bound.keys() - set(known)):
        raise click.BadParameter(
            f"--webhook {strange[0]}=: is no receiver; they are {', '.join(known)}"
        )
    if others is not None:
        bound = dict.fromkeys(known, others) | bound
    logged = load_log(config_dir, store_file)
    made = configuration(objectives, Receivers(bound), exclusions=logged, now_s=time.time())
    names = [receiver["name"] for receiver in made["receivers"]]
    text = to_yaml(made, _HEAD.format("alertmanager"))
    if output_file is None:
        click.echo(text, nl=False)
    else:
        _write(output_file, text)
        click.echo(f"{len(names)} receivers, {slo_count(objectives)}: {output_file}")
    for name in names:
        if name not in bound:
            how = shlex.quote(f"{name}=URL")
            click.echo(f"note: receiver {name} has no address: --webhook {how}", err=True)


def _bindings(texts: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        match = _BINDING.match(text)
        if match is None or not is_url(match[2]):
            raise click.BadParameter(
                f"--webhook {text!r} is not of the form [RECEIVER=]http://HOST"
            )
        name = match[1] or _OTHERS
        if name in found:
            raise click.BadParameter(f"--webhook names {name or 'the others'} twice")
        found[name] = match[2]
    return found


def _write(file: pathlib.Path, text: str) -> None:
    from netslo.errors import ConfigurationError

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be written: {error.strerror}") from error
