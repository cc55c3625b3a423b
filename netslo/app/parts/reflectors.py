"""The part that answers test packets."""

from __future__ import annotations

from collections.abc import Mapping

from netslo.app.children import Link
from netslo.model import Endpoint
from probes.reflector import ReflectorServer


def reflectors_part(link: Link, listen: Mapping[str, Endpoint]) -> None:
    """Answer for several sites; ready with the bound address of each."""
    server = ReflectorServer(listen.values())
    link.ready(dict(zip(listen, server.endpoints, strict=True)))
    server.run(link.stopped)
