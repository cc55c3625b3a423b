"""The Error Estimate field: how far a timestamp may be from the truth (RFC 4656 §4.1.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from netslo.model import NS_PER_S

_SYNCHRONISED: Final = 0x8000
PTP_FLAG: Final = 0x4000
_SCALE_MAX: Final = 63
_MULTIPLIER_MAX: Final = 255


@dataclass(frozen=True, slots=True)
class ErrorEstimate:
    """An upper bound of `multiplier * 2**(scale - 32)` seconds, and what it bounds.

    `synchronised` (S) says that the clock follows UTC; `ptp` (Z, RFC 8186 §2.2) that the
    timestamps beside it are truncated PTPv2 and not NTP. A multiplier of 0 is invalid.
    """

    synchronised: bool
    ptp: bool
    scale: int  # 0 to 63
    multiplier: int  # 1 to 255

    @property
    def error_s(self) -> float:
        """The bound in seconds."""
        return self.multiplier * 2.0 ** (self.scale - 32)

    @classmethod
    def bounding(cls, error_ns: int | None, *, synchronised: bool) -> ErrorEstimate:
        """Return the tightest estimate not below `error_ns`; None or too much is the largest."""
        if error_ns is None:
            return cls(synchronised, ptp=False, scale=_SCALE_MAX, multiplier=_MULTIPLIER_MAX)
        units = max(1, -(-(error_ns << 32) // NS_PER_S))  # of 2**-32 s, rounded up
        scale = max(0, units.bit_length() - 8)
        multiplier = -(-units >> scale)  # rounded up
        if multiplier > _MULTIPLIER_MAX:  # rounding up carried into a ninth bit
            scale, multiplier = scale + 1, (multiplier + 1) // 2
        if scale > _SCALE_MAX:
            scale, multiplier = _SCALE_MAX, _MULTIPLIER_MAX
        return cls(synchronised, ptp=False, scale=scale, multiplier=multiplier)

    @classmethod
    def decode(cls, field: int) -> ErrorEstimate:
        """Read the 16 bits of the field; every value has a meaning but multiplier 0."""
        return cls(
            synchronised=bool(field & _SYNCHRONISED),
            ptp=bool(field & PTP_FLAG),
            scale=field >> 8 & _SCALE_MAX,
            multiplier=field & _MULTIPLIER_MAX,
        )

    def encode(self) -> int:
        """Return the 16 bits of the field."""
        flags = (_SYNCHRONISED if self.synchronised else 0) | (PTP_FLAG if self.ptp else 0)
        return flags | self.scale << 8 | self.multiplier
