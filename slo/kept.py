"""Small files beside the store, replaced as a whole, and read with care.

Anybody may have been at them. A file that cannot be read is said, and its owner goes on without it.
"""

from __future__ import annotations

import json
import logging
import os
import pathlib
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, Final, TypeVar

from netslo.model import Path
from slo.budget import Spend

SIZE_MAX: Final = 1 << 28
_FAULTS: Final = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,  # a fraction of nothing, an infinite number
    RecursionError,
)

Kept = TypeVar("Kept")

_log = logging.getLogger(__name__)


def load(
    file: pathlib.Path | None, parse: Callable[[Any], Kept], default: Kept, consequence: str
) -> Kept:
    """Return what `parse` makes of a file's JSON, or `default`.

    Args:
        file: None and a file that is not there are no fault.
        parse: May raise whatever Python raises of data of another shape.
        default: What there is without the file.
        consequence: What follows from a file that cannot be read, for the log.
    """
    if file is None:
        return default
    try:
        size = file.stat().st_size
        if size > SIZE_MAX:
            raise ValueError(f"has {size} octets, at most {SIZE_MAX} are read")
        return parse(json.loads(file.read_text()))
    except FileNotFoundError:
        return default
    except _FAULTS as error:
        _log.warning("%s: cannot be read, so %s: %s", file, consequence, error)
        return default


def save(file: pathlib.Path | None, data: Any) -> None:
    """Replace a file at once, on disk when this returns; a failure is only said."""
    if file is None:
        return
    beside = file.with_suffix(".new")
    try:
        with beside.open("w") as stream:
            json.dump(data, stream)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(file)
    except OSError as error:
        _log.warning("%s: cannot be written: %s", file, error.strerror)


def to_rows(spends: Mapping[tuple[str, Path], Spend]) -> list[list[Any]]:
    """Return spends as JSON has them."""
    return [
        [slo, path.id, s.events, s.bad, s.unmeasured, str(s.budget), str(s.unmeasured_budget)]
        for (slo, path), s in spends.items()
    ]


def from_rows(rows: Any) -> dict[tuple[str, Path], Spend]:
    """Read what `to_rows` returned; raises as `load` expects."""
    return {(str(slo), Path.parse(path)): _spend(figures) for slo, path, *figures in rows}


def _spend(figures: list[Any]) -> Spend:
    events, bad, unmeasured, budget, more = figures
    spend = Spend(int(events), int(bad), int(unmeasured), Fraction(budget), Fraction(more))
    counts = (spend.events, spend.bad, spend.unmeasured)
    if min(counts) < 0 or min(spend.budget, spend.unmeasured_budget) < 0:
        raise ValueError(f"{figures} has less than no event")
    return spend
