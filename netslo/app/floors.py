"""The noise floors of the probes of a run, asked of its collector now and then."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from netslo.app.asking import ask
from netslo.model import Endpoint

EVERY_S: Final = 10.0

Floors = Mapping[str, Mapping[str, float | None]]  # by site and quantile, seconds


@dataclass(slots=True)
class ProbeFloors:
    """Call it for the floors last heard of; a collector that does not answer is asked later."""

    collector: Endpoint
    monotonic: Callable[[], float] = time.monotonic
    _floors: Floors = field(default_factory=dict)
    _asked_s: float | None = None

    def __call__(self) -> Floors:
        now_s = self.monotonic()
        if self._asked_s is None or now_s - self._asked_s >= EVERY_S:
            self._asked_s = now_s
            with suppress(OSError, http.client.HTTPException, ValueError):
                self._floors = read_floors(ask(self.collector, "/api/v1/probes"))
        return self._floors


def read_floors(answer: bytes) -> Floors:
    """Return the floor of each site's latest report that has one.

    Raises:
        ValueError: it is no answer of /api/v1/probes.
    """
    try:
        probes: list[dict[str, Any]] = json.loads(answer)["probes"]
        probes.sort(key=lambda each: float(each["last_report"]))
        floors = [(each["site"], each["noise_floor"]) for each in probes]
        return {site: floor for site, floor in floors if set(floor.values()) != {None}}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no answer of /api/v1/probes: {error!r}") from error
