"""The alerts of a run, as its collector's engine tells them, each said once."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from netslo.app.asking import ask
from netslo.model import Endpoint

_SEVERITIES: Final = {"page": "PAGE", "ticket": "TICKET"}


@dataclass(slots=True)
class Pages:
    """What has been told so far; a collector that does not answer is asked again later."""

    collector: Endpoint
    told: list[dict[str, Any]] = field(default_factory=list)
    _in_force: dict[frozenset[tuple[str, str]], dict[str, Any]] = field(default_factory=dict)

    def news(self) -> Iterator[str]:
        """Yield lines for a person: what began and what is over since the last call."""
        with suppress(OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
            alerts = json.loads(ask(self.collector, "/api/v1/alerts"))["alerts"]
            now = {
                frozenset(alert["labels"].items()): alert
                for alert in alerts
                if alert["labels"].get("severity") in _SEVERITIES
            }
            before, self._in_force = self._in_force, now
            for key, alert in now.items():
                if key not in before:
                    self.told.append(alert)
                    yield from _lines(alert)
            for key in before.keys() - now.keys():
                yield f"resolved: {named(dict(key))}"


def named(labels: Mapping[str, str]) -> str:
    """Say which alert has these labels, as its summary begins."""
    where = labels.get("path") or labels.get("site") or labels.get("src_site")
    what = " on ".join(filter(None, (labels.get("slo"), where)))
    said = ": ".join(filter(None, (labels["alertname"], what)))
    return f"{said} (pair {labels['pair']})" if "pair" in labels else said


def _lines(alert: dict[str, Any]) -> Iterator[str]:
    labels, said = alert["labels"], alert["annotations"]
    yield f"{_SEVERITIES[labels['severity']]} {labels['alertname']}: {said.get('summary', '')}"
    for name in ("pair", "budget", "evidence"):
        if name in said:
            yield f"  {name}: {said[name]}"
    if "runbook_url" in said:
        yield f"  runbook: {said['runbook_url']}"
