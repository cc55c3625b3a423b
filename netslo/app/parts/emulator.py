"""The part that stands for the network between the sites."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netslo.app.children import Link
from netslo.estate import Estate
from netslo.model import Endpoint
from probes.emulator.relay import Emulator, estate_flows


def emulator_part(
    link: Link, estate: Estate, targets: Mapping[str, Endpoint], seed: int | None
) -> None:
    """Carry every path of the estate over an emulated WAN; ready with the port of each path.

    Answers two requests: `("degrade", path, impairment or None)` and `("truth",)`, the
    log's own figures by path.
    """
    emulator = Emulator(estate_flows(estate, targets, seed))

    def handle(request: tuple[Any, ...]) -> Any:
        if request[0] == "degrade":
            emulator.degrade(request[1], request[2])
            return None
        return {path: emulator.truth(path) for path in estate.paths}

    link.answer_requests(handle)
    link.ready(emulator.ports)
    emulator.run(link.stopped)
