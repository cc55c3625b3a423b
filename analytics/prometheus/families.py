"""Families of native histograms, beside what prometheus-client's own families can hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from analytics.prometheus.native import NativeHistogram


@dataclass(frozen=True, slots=True)
class NativeFamily:
    """One metric: native histograms by their labels."""

    name: str
    text: str
    series: tuple[tuple[Mapping[str, str], NativeHistogram], ...]


class NativeSource(Protocol):
    """Who has native histograms to publish; asked from any thread."""

    def collect_native(self) -> Iterable[NativeFamily]: ...
