"""The wall clock: what the kernel says of it, and chrony where it is there."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from netslo.app.doctor.finding import Finding
from netslo.units import time_unit
from probes.clock import ClockState, read_clock_state

_PATIENCE_S: Final = 2.0
_FIELDS: Final = 14  # of `chronyc -c tracking`


@dataclass(frozen=True, slots=True)
class Chrony:
    """What chronyd follows (chronyc tracking); seconds."""

    source: str
    stratum: int
    offset_s: float  # of the system clock from what chronyd takes for the truth
    root_delay_s: float
    root_dispersion_s: float
    leap: str

    @property
    def synchronised(self) -> bool:
        return self.leap != "Not synchronised"

    @property
    def error_s_max(self) -> float:
        """The most that the clock can be off UTC, as chrony's manual has it."""
        return abs(self.offset_s) + self.root_dispersion_s + self.root_delay_s / 2

    def to_json(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "stratum": self.stratum,
            "offset": self.offset_s,
            "root_delay": self.root_delay_s,
            "root_dispersion": self.root_dispersion_s,
            "leap": self.leap,
            "error_max": self.error_s_max,
        }


def parse_tracking(line: str) -> Chrony:
    """Read a line of `chronyc -c tracking`.

    Raises:
        ValueError: it is none.
    """
    fields = line.strip().split(",")
    if len(fields) != _FIELDS:
        raise ValueError(f"{len(fields)} fields are no tracking report of chronyc")
    return Chrony(
        source=fields[1],
        stratum=int(fields[2]),
        offset_s=float(fields[4]),
        root_delay_s=float(fields[10]),
        root_dispersion_s=float(fields[11]),
        leap=fields[13],
    )


def ask_chrony() -> Chrony | None:
    """Return what chronyd says; None where it is not there or does not answer."""
    program = shutil.which("chronyc")
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, "-c", "tracking"],
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=True,
        )
        return parse_tracking(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def clock_findings(state: ClockState, chrony: Chrony | None) -> Iterator[Finding]:
    """Say whether the clock follows UTC, and how far off it may be."""
    # Of a clock that nothing steers the kernel's figure stops at 16 s, which bounds nothing.
    error_s = state.error_s_max if state.synchronised else None
    found = "follows UTC" if state.synchronised else "does not follow UTC (adjtimex)"
    yield Finding(
        "clock",
        state.synchronised,
        found + ("" if error_s is None else f", off by at most {_write(error_s)}"),
        "round trips need no synchronised clock; one-way delays do",
        "" if state.synchronised else _mend(chrony),
        figures={"error": error_s},
    )
    if chrony is not None:
        yield Finding(
            "chrony",
            chrony.synchronised,
            f"follows {chrony.source or 'nothing'}, stratum {chrony.stratum}: "
            f"off by at most {_write(chrony.error_s_max)}"
            if chrony.synchronised
            else "runs, and follows no server",
            "" if chrony.synchronised else "one-way delays are not shown",
            "" if chrony.synchronised else "chronyc sources -v",
            figures={"error": chrony.error_s_max if chrony.synchronised else None},
        )


def read_clock() -> tuple[ClockState, Chrony | None]:
    """Return what kernel and chrony say."""
    return read_clock_state(), ask_chrony()


def _mend(chrony: Chrony | None) -> str:
    return "apt-get install chrony" if chrony is None else "chronyc waitsync"


def _write(seconds: float) -> str:
    unit = time_unit(seconds)
    return f"{unit.format(seconds)} {unit.name}"
