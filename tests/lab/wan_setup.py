"""What the emulator's process is told at its start."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from .link import Link


@dataclass(frozen=True, slots=True)
class Setup:
    """What the process is started with."""

    namespaces: tuple[str, str]
    device: str
    links: tuple[Link, Link]  # forward and reverse
    seed: int
    log_descriptor: int  # memory, see wan_log

    def as_json(self) -> str:
        """Return what `from_json` reads."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Setup:
        """Return the setup."""
        content = json.loads(text)
        forward, reverse = map(Link.from_json, content["links"])
        return cls(**{**content, "links": (forward, reverse)})
