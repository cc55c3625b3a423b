"""What the commands of `netslo slo` share."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from netslo.config.options import DATA_DIR, STORE_FILE

if TYPE_CHECKING:  # the commands import what they need, so that --help needs none of it
    from netslo.estate import Estate
    from slo.exclusion import Exclusion
    from slo.objective import Objective
    from slo.spec import Specification

PIPE_WIDTH = 200
STORE = pathlib.PurePath(DATA_DIR, STORE_FILE)


def load(config_dir: pathlib.Path) -> tuple[Estate, Specification]:
    """Read the estate and its objectives."""
    from netslo.config.estate_file import load_estate
    from slo.spec import load_specification

    estate = load_estate(config_dir)
    return estate, load_specification(config_dir, estate)


def select(
    specification: Specification, names: Sequence[str], option: str = "--slo"
) -> tuple[Objective, ...]:
    """Return the objectives of these names, all without any."""
    from netslo.errors import ConfigurationError

    known = {objective.name: objective for objective in specification.objectives}
    for name in names:
        if name not in known:
            raise ConfigurationError(
                f"{option} {name}: must be one of {', '.join(known) or 'none'}"
            )
    return tuple(o for o in known.values() if not names or o.name in names)


def check_paths(paths: Sequence[str], estate: Estate) -> None:
    """See that these are paths of the estate."""
    from netslo.errors import ConfigurationError

    known = {path.id for path in estate.paths}
    for text in paths:
        if text not in known:
            raise ConfigurationError(
                f"--path {text}: must be a path of the estate, as src:dst/class"
            )


def log_of(config_dir: pathlib.Path, store_file: pathlib.Path | None = None) -> pathlib.Path:
    """Return where exclusions are declared: beside the store."""
    from slo.exclusion_log import FILE_NAME

    return (store_file or config_dir / STORE).parent / FILE_NAME


def load_log(
    config_dir: pathlib.Path, store_file: pathlib.Path | None = None
) -> tuple[Exclusion, ...]:
    """Read the exclusions that were declared beside the store and nobody took back."""
    from slo.exclusion_log import load_exclusions

    return load_exclusions(log_of(config_dir, store_file))


def print_json(value: object) -> None:
    import json

    click.echo(json.dumps(value, indent=2, allow_nan=False))
