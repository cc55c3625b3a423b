"""The door: commands found by name, so that help is quick and a missing extra one sentence."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, NoReturn

import click

from netslo import __version__
from netslo.app.plain_text import write_plainly
from netslo.errors import NetsloError

_OURS: Final = frozenset({"netslo", "analytics", "probes", "slo", "dashboards"})
_PACKAGES: Final = {  # where a module's name is not that of its package
    "dns": "dnspython",
    "google": "protobuf",
    "opentelemetry": "opentelemetry-proto",
    "prometheus_client": "prometheus-client",
    "yaml": "PyYAML",
}
_INTERRUPTED: Final = 130  # 128 + SIGINT, as shells have it
_NOT_WRITTEN: Final = 2  # 1 would be an answer
_READER_GONE: Final = 141  # 128 + SIGPIPE; neither 0 nor 1 would be an answer to what was asked


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where a command lives, the extra it needs beyond the base, and its line in the help."""

    module: str
    attribute: str
    extra: str
    help: str


_COMMANDS: Final = {
    "demo": _Entry(
        "netslo.app.commands.demo", "demo", "all", "Nine UK sites on an emulated WAN, in 3 minutes."
    ),
    "up": _Entry("netslo.app.commands.up", "up", "all", "This host's part of a real estate."),
    "probe": _Entry("netslo.app.commands.probe", "probe", "probe", "Measure from a site."),
    "reflect": _Entry("probes.cli", "reflect", "probe", "Answer STAMP test packets."),
    "collect": _Entry(
        "netslo.app.commands.collect", "collect", "analytics", "Receive, keep, judge, publish."
    ),
    "measure": _Entry("probes.cli", "measure", "probe", "Measure one target from a shell."),
    "quantiles": _Entry("analytics.cli", "quantiles", "analytics", "Tail percentiles of a file."),
    "estate": _Entry("netslo.app.commands.estate", "estate", "all", "Check and show estate.yaml."),
    "slo": _Entry("slo.cli", "slo", "analytics", "Check objectives, show budgets and burn."),
    "dashboards": _Entry(
        "dashboards.cli", "dashboards", "dashboards", "Dashboards and provisioning for Grafana."
    ),
    "webhook": _Entry(
        "netslo.app.commands.webhook", "webhook", "all", "Show Alertmanager's pages."
    ),
    "healthcheck": _Entry(
        "netslo.app.commands.healthcheck", "healthcheck", "all", "Whether a process here is well."
    ),
    "doctor": _Entry("netslo.app.commands.doctor", "doctor", "all", "What this host can do."),
}


class _ReaderGoneError(Exception):
    """Whoever read our output has closed it."""


@contextmanager
def _told_apart() -> Iterator[None]:
    """Keep click from taking a broken pipe for itself: it exits 1, which here is bad news."""
    try:
        yield
    except BrokenPipeError as error:
        raise _ReaderGoneError from error


class _Door(click.Group):
    """A group whose commands are imported when they are called, not when they are listed."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _told_apart():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _told_apart():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        entry = _COMMANDS.get(cmd_name)
        return None if entry is None else _load(cmd_name, entry)

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002
        formatter: click.HelpFormatter,
    ) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in _COMMANDS.items()])


def _load(name: str, entry: _Entry) -> click.Command:
    try:
        command = getattr(import_module(entry.module), entry.attribute)
    except ModuleNotFoundError as error:
        _explain_missing(name, entry, error)
    assert isinstance(command, click.Command)
    return command


def _explain_missing(name: str, entry: _Entry, error: ModuleNotFoundError) -> NoReturn:
    """Name the extra to install; a missing module of ours is our own mistake and passes."""
    missing = (error.name or "").partition(".")[0]
    if not missing or missing in _OURS:
        raise error
    missing = _PACKAGES.get(missing, missing)
    failure = NetsloError(f"{name} needs {missing}. Run: pip install 'netslo[{entry.extra}]'")
    failure.exit_code = 2
    raise failure from error


@click.group(cls=_Door, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="netslo")
def cli() -> None:
    """Measure a network between sites, keep its tail, judge it against objectives.

    Start with: netslo demo
    """


class _Unheard(io.RawIOBase):
    """Stands in for a closed standard output, and knows whether anything was to go there."""

    octets = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.octets += len(data)
        return len(data)


def _unwritten(error: Exception) -> int:
    """Return the status where nobody takes the output; any other error passes."""
    gone = isinstance(error, _ReaderGoneError | BrokenPipeError)
    if not gone and getattr(error, "errno", None) != errno.ENOSPC:
        raise error
    # Keep the interpreter from complaining at its end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if gone:
        return _READER_GONE
    click.echo(f"netslo: cannot write: {error}", err=True)
    return _NOT_WRITTEN


def main() -> NoReturn:
    """Run a command: a user's mistake is one message and an exit status, never a traceback."""
    unheard = _Unheard() if sys.stdout is None else None  # closed by who started us
    if unheard is not None:
        sys.stdout = io.TextIOWrapper(unheard, encoding="utf-8", write_through=True)
    write_plainly([sys.stdout, sys.stderr])
    status = _status()
    if unheard is not None and unheard.octets:
        click.echo("netslo: cannot write: standard output is closed", err=True)
        status = _NOT_WRITTEN
    sys.exit(status)


def _status() -> int:
    """Run a command; return its exit status."""
    try:
        status = cli.main(prog_name="netslo", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as error:
        status = error.exit_code
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        status = _INTERRUPTED
    except NetsloError as error:
        click.echo(f"netslo: {error}", err=True)
        status = error.exit_code
    except ModuleNotFoundError as error:  # a library imported within a running command
        name = next((word for word in sys.argv[1:] if word in _COMMANDS), "")
        if not name:
            raise
        try:
            _explain_missing(name, _COMMANDS[name], error)
        except NetsloError as explained:
            click.echo(f"netslo: {explained}", err=True)
            status = explained.exit_code
    except (_ReaderGoneError, OSError) as error:
        status = _unwritten(error)
    return status if isinstance(status, int) else 0
