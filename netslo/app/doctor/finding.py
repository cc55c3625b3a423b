"""One thing about this host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found, what a lack costs, and the command that mends it.

    `needed` says that measuring cannot do without it.
    """

    what: str
    good: bool
    found: str
    meaning: str
    mend: str = ""  # a command, or what to do in a few words
    needed: bool = False
    figures: dict[str, float | None] | None = None  # seconds

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def works(attempt: Callable[[], bool]) -> bool:
    """Try something; a kernel, a sandbox or a firewall that refuses it has answered too."""
    try:
        return attempt()
    except OSError:
        return False
