"""How a panel shows a value: unit, decimals and colour, as its field configuration says."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

COLOURS: Final = {
    "green": "#56a64b",
    "dark-green": "#37872d",
    "yellow": "#e0b400",
    "orange": "#ff780a",
    "red": "#e02f44",
    "blue": "#3274d9",
    "purple": "#a352cc",
    "gray": "#8e8e8e",
}
PALETTE: Final = (
    "#3274d9", "#ff780a", "#56a64b", "#a352cc", "#e02f44",
    "#00a3a3", "#b8860b", "#7c8a99", "#d14ea0", "#3d5a80",
)  # fmt: skip
SUFFIXES: Final = {
    "cps": " c/s",
    "ops": " ops/s",
    "pps": " p/s",
    "reqps": " req/s",
    "bps": " bit/s",
    "Bps": " B/s",
    "decbytes": " B",
}
_DURATIONS: Final = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"))
_THOUSANDS: Final = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


@dataclass(frozen=True, slots=True)
class Shown:
    """The field configuration of one field: the panel's own, with what overrides change."""

    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, panel: Mapping[str, Any], name: str = "") -> Shown:
        """Return how a panel shows the field of a name."""
        config = panel.get("fieldConfig", {"defaults": {}, "overrides": []})
        settings = dict(config["defaults"])
        for key, value in settings.pop("custom", {}).items():
            settings[f"custom.{key}"] = value
        for override in config["overrides"]:
            if _matches(override["matcher"], name):
                settings |= {each["id"]: each["value"] for each in override["properties"]}
        return cls(settings)

    @property
    def unit(self) -> str:
        return str(self.settings.get("unit", "short"))

    @property
    def no_value(self) -> str:
        return str(self.settings.get("noValue", "-"))

    @property
    def steps(self) -> Sequence[tuple[float, str]]:
        """Return from which value on there is which colour."""
        told = self.settings.get("thresholds", {}).get("steps", ())
        return [
            (-math.inf if step["value"] is None else float(step["value"]), colour(step["color"]))
            for step in told
        ]

    def text(self, value: float | None) -> str:
        """Write a value; what is unknown as the panel says."""
        if value is None or math.isnan(value):
            return self.no_value
        mapped = self._mapped(value)
        return mapped["text"] if mapped else write(value, self.unit, self.settings.get("decimals"))

    def colour(self, value: float | None) -> str | None:
        """Return a value's colour by the thresholds; None for what is unknown."""
        if value is None or math.isnan(value):
            return None
        mapped = self._mapped(value)
        if mapped:
            return colour(mapped["color"])
        found = [shade for from_value, shade in self.steps if value >= from_value]
        return found[-1] if found else None

    def _mapped(self, value: float) -> Mapping[str, Any] | None:
        for mapping in self.settings.get("mappings", ()):
            found: Mapping[str, Any] | None = mapping["options"].get(f"{value:g}")
            if found:
                return found
        return None


def colour(name: str) -> str:
    """Return what a browser calls a colour of Grafana's."""
    return COLOURS.get(name, name)


def write(value: float, unit: str, decimals: int | None = None) -> str:
    """Write a value with its unit, as near to Grafana as a reader needs."""
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    match unit:
        case "percentunit":
            return f"{_few(value * 100, decimals)} %"
        case "s":
            return duration(value, decimals)
        case "none":
            return _few(value, decimals)
        case "dateTimeFromNow":
            return f"{duration(max(0.0, time.time() - value / 1000), 0)} ago"
    size, prefix = next(((s, p) for s, p in _THOUSANDS if abs(value) >= s), (1.0, ""))
    return f"{_few(value / size, decimals)}{' ' * bool(prefix)}{prefix}{SUFFIXES.get(unit, '')}"


def duration(seconds: float, decimals: int | None = None) -> str:
    """Write a length of time in the unit that suits it."""
    if not seconds:
        return "0 s"
    size, unit = next(((s, u) for s, u in _DURATIONS if abs(seconds) >= s), (1e-6, "µs"))
    return f"{_few(seconds / size, decimals)} {unit}"


def _few(value: float, decimals: int | None) -> str:
    if decimals is not None:
        return f"{value:,.{decimals}f}"
    if value == int(value):
        return f"{value:,.0f}"
    whole = max(0, math.floor(math.log10(abs(value))) + 1)
    text = f"{value:,.{max(0, 3 - whole)}f}"
    return text if any(digit in text for digit in "123456789") else f"{value:.2g}"


def _matches(matcher: Mapping[str, str], name: str) -> bool:
    if matcher["id"] == "byRegexp":
        return re.fullmatch(matcher["options"], name) is not None
    return matcher["id"] == "byName" and matcher["options"] == name
