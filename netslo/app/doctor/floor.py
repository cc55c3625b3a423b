"""The noise floor as findings: what this host adds to a figure, and how late it sends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from netslo.app.doctor.finding import Finding
from netslo.model import Quality
from netslo.units import time_unit
from probes.measurement import LATE_S
from probes.noise_floor import Figure, NoiseFloor

SHOWN: Final = ("0.5", "0.99", "0.999")
_LOST_MAX: Final = 0.001  # of packets that no network could have lost
_CLASSES: Final = {
    Quality.A: "all four timestamps are the kernel's",
    Quality.B: "the reflector reads T3 in user space",
    Quality.C: "timestamps are partly read in user space",
}


def floor_findings(floor: NoiseFloor | str) -> Iterator[Finding]:
    """Yield what a self-test found; a text is why it could not run."""
    if isinstance(floor, str):
        yield Finding(
            "noise floor",
            good=False,
            found=floor,
            meaning="nothing can be measured here",
            mend="ip link set lo up; a sandbox or firewall must let UDP to 127.0.0.1 pass",
            needed=True,
        )
        return
    good = floor.answered > 0 and floor.lost_in_prober <= _LOST_MAX * floor.due
    yield Finding(
        "noise floor",
        good,
        f"{_write(floor.rtt)}; {floor.answered:,} of {floor.due:,} answered",
        "a round trip below three times that may be this host's, not the network's"
        if good
        else "packets are lost where no network is: this host cannot keep up",
        "" if good else "see the receive buffer and the priority below; stop what else runs",
        needed=True,
        figures=floor.figures,
    )
    if floor.quality is not None:
        best = floor.quality is Quality.A
        yield Finding(
            "timestamp class",
            best,
            f"class {floor.quality}: {_CLASSES[floor.quality]}",
            "" if best else "a busy host looks like a slow network",
        )
    late_s = floor.lateness["0.99"].value
    prompt = late_s is not None and late_s < LATE_S
    yield Finding(
        "punctuality",
        prompt,
        f"packets left {_write(floor.lateness)} after they were due",
        ""
        if prompt
        else "bursts instead of an even stream; round trips are not affected in class A",
        "" if prompt else "a processor that is less busy, and real-time priority",
        figures={q: each.value for q, each in floor.lateness.items()},
    )


def _write(figures: Mapping[str, Figure]) -> str:
    """Write percentiles with their 95 % intervals, in one unit."""
    unit = time_unit(figures["0.99"].value)
    parts = []
    for q in SHOWN:
        figure = figures[q]
        low, high = unit.format(figure.low), unit.format(figure.high)
        parts.append(f"P{float(q) * 100:g} {unit.format(figure.value)} ({low} to {high})")
    return f"{', '.join(parts)} {unit.name}"
