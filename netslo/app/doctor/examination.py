"""Everything that is looked at, in the order in which it is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from netslo.app.doctor.clock import Chrony, clock_findings, read_clock
from netslo.app.doctor.finding import Finding
from netslo.app.doctor.floor import floor_findings
from netslo.app.doctor.privileges import privilege_findings
from netslo.app.doctor.software import extras, kernels, version
from netslo.app.doctor.stamping import interface_stamps, kernel_stamps
from netslo.errors import NetsloError
from probes.clock import ClockState
from probes.interfaces import Interface, list_interfaces
from probes.noise_floor import SECONDS, NoiseFloor, measure_noise_floor


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found, and what it was read from."""

    findings: tuple[Finding, ...]
    floor: NoiseFloor | None
    interfaces: tuple[Interface, ...]
    clock: ClockState
    chrony: Chrony | None

    @property
    def able(self) -> bool:
        """Whether nothing is missing that measuring needs."""
        return not any(finding.needed and not finding.good for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Return the stable shape of `doctor --json`; what is not known is null."""
        return {
            "able": self.able,
            "findings": [finding.to_json() for finding in self.findings],
            "noise_floor": None if self.floor is None else self.floor.to_json(),
            "interfaces": [interface.to_json() for interface in self.interfaces],
            "clock": {
                "synchronised": self.clock.synchronised,
                "error_max": self.clock.error_s_max if self.clock.synchronised else None,
                "chrony": None if self.chrony is None else self.chrony.to_json(),
            },
        }


def examine(seconds: float = SECONDS) -> Examination:
    """Look at everything; takes some seconds more than the self-test's `seconds`."""
    loops = list(kernels())  # before the self-test, which must not wait for a compiler
    found = _self_test(seconds)
    interfaces = tuple(list_interfaces())
    state, chrony = read_clock()
    return Examination(
        (
            version(),
            *floor_findings(found),
            *kernel_stamps(),
            *interface_stamps(interfaces),
            *clock_findings(state, chrony),
            *privilege_findings(),
            *loops,
            *extras(),
        ),
        None if isinstance(found, str) else found,
        interfaces,
        state,
        chrony,
    )


def _self_test(seconds: float) -> NoiseFloor | str:
    try:
        return measure_noise_floor(seconds=seconds)
    except NetsloError as error:
        return str(error)
