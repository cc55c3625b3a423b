"""What is told of the real link at the end: a part of `demo --json`, and lines for a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from netslo.app.lab.network import BACKUP_BIT_S, PRIMARY_BIT_S
from netslo.app.lab.real_link import RealLink
from netslo.app.parts.lab import Refusal
from netslo.units import format_ms, format_rate

_KEYS: Final = ("path", "lack", "capacity", "primary_failed", "primary_mended")


def lab_state(link: RealLink | Refusal) -> dict[str, Any]:
    """Return the value of `lab` in `demo --json`; what there is not is null."""
    if isinstance(link, Refusal):
        return dict.fromkeys(_KEYS) | {"lack": link.reason}
    return dict.fromkeys(_KEYS) | {
        "path": link.path.id,
        "capacity": {"primary": PRIMARY_BIT_S, "backup": BACKUP_BIT_S},
        "primary_failed": link.failed_s,
        "primary_mended": link.mended_s,
    }


def lab_lines(state: Mapping[str, Any]) -> Iterator[str]:
    """Say what was measured across the real link, or why there was none."""
    lab = state["lab"]
    if lab["path"] is None:
        yield f"Real link: not shown: {lab['lack']}"
        return
    path = next(each for each in state["paths"] if each["path"] == lab["path"])
    p50, p99 = (format_ms(path["rtt"]["quantiles"][q]["value"]) for q in ("0.5", "0.99"))
    rates = " or ".join(format_rate(rate) for rate in lab["capacity"].values())
    yield f"Real link under {lab['path']} ({rates}): p50 {p50} ms, p99 {p99} ms."
