"""Requests as probes of a full mesh of sites send them, made fast enough to load a collector.

A request is encoded once per site by the product's own encoder; for further windows its times and
its sequence are changed in place, where they stand in fixed places of the protobuf.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import zstandard

from analytics.otlp import encode_batch
from analytics.sketch import Sketch
from analytics.windows import Batch, PacketCounts, PathWindow, SeriesKey, SketchKey, SloCounts
from netslo.estate import Estate, ProbingPlan
from netslo.metrics import JITTER, RTT
from netslo.model import NS_PER_S, Location, Path, Quality, Site, Tier, TrafficClass, Window

T0 = 1_800_000_000  # a Unix time that is a multiple of 300
CLASSES = ("be", "af1", "af2", "af3", "ef")
_SEQUENCE = 1 << 29  # five octets as a varint, as are the following 2**31


def estate_of(paths: int, classes: int) -> Estate:
    """Return the smallest full mesh with at least so many paths."""
    count = next(n for n in range(2, 1000) if n * (n - 1) * classes >= paths)
    sites = {
        f"site{n:03d}": Site(f"site{n:03d}", Tier.EDGE, "north", "gb", Location(0, 0), ())
        for n in range(count)
    }
    named = {name: TrafficClass(name, 8 * k) for k, name in enumerate(CLASSES[:classes])}
    return Estate("mesh", "GBP", sites, named, (), ProbingPlan(0.01, 1.0))


def sketches(count: int, seed: int = 1) -> list[Sketch]:
    """Return sketches of 300 to 6,000 round-trip times: a lognormal body and a tail of 2 %."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(count):
        size = int(rng.choice([300, 1000, 3000, 6000]))
        rtts = rng.uniform(0.004, 0.2) * np.exp(rng.normal(0, rng.uniform(0.12, 0.4), size))
        late = rng.random(size) < 0.02
        rtts[late] *= 1 + rng.exponential(0.6, late.sum())
        sketch = Sketch()
        sketch.add(rtts)
        found.append(sketch)
    return found


@dataclass(frozen=True, slots=True)
class Request:
    """One request of one site for one window."""

    body: bytes  # zstd
    plain_size: int
    sketches: int
    answered: int
    values: int  # of all sketches
    end_s: int  # when its window is over, and so when it is sent


class Mesh:
    """The probes of an estate."""

    def __init__(self, paths: int, *, whole: bool, classes: int = len(CLASSES)) -> None:
        """Prepare; `whole` requests hold jitter, packets and events beside the RTT sketches."""
        self.estate = estate_of(paths, classes)
        self._whole = whole
        self._zstd = zstandard.ZstdCompressor(level=3)
        self._templates: list[tuple[bytes, int, int]] = []

    def requests(self, windows: int) -> Iterator[Request]:
        """Yield every site's request of every window, window by window."""
        for k in range(windows):
            yield from self.at(T0 + 10 * k, k)

    def at(self, start_s: int, number: int) -> Iterator[Request]:
        """Yield every site's request of the window that starts then; number them from 0."""
        if not self._templates:
            self._stock = sketches(500)
            self._templates = [self._template(n, site) for n, site in enumerate(self.estate.sites)]
        for plain, count, answered in self._templates:
            body = _patched(plain, start_s, _SEQUENCE + number)
            values = answered * (2 if self._whole else 1)
            compressed = self._zstd.compress(body)
            yield Request(compressed, len(body), count, answered, values, start_s + 10)

    def _template(self, number: int, site: str) -> tuple[bytes, int, int]:
        contents, answered = [], 0
        for k, path in enumerate(p for p in self._paths(site)):
            rtt = self._stock[(31 * number + k) % len(self._stock)]
            window = PathWindow(SeriesKey(path), Window(T0))
            window.packets = PacketCounts(answered=rtt.count, lost=k % 3)
            window.sketches[SketchKey(RTT, Quality.A)] = rtt
            answered += rtt.count
            if self._whole:
                window.sketches[SketchKey(JITTER, Quality.A)] = rtt
                window.slo["latency"] = SloCounts(rtt.count - 1, 1)
                window.interarrival_jitter_s = 0.001
            contents.append(window)
        plain = encode_batch(Batch(site, f"{site}-1", _SEQUENCE, tuple(contents)))
        return plain, len(contents) * (2 if self._whole else 1), answered

    def _paths(self, site: str) -> Iterator[Path]:
        for dst in self.estate.sites:
            if dst != site:
                for traffic_class in self.estate.classes:
                    yield Path(site, dst, traffic_class)


def _patched(plain: bytes, start_s: int, sequence: int) -> bytes:
    """Return the same request of another window."""
    for old_s, new_s in ((T0, start_s), (T0 + 10, start_s + 10)):
        marked = b"\x11" if old_s == T0 else b"\x19"  # fields 2 and 3, fixed64
        old = marked + struct.pack("<Q", old_s * NS_PER_S)
        plain = plain.replace(old, marked + struct.pack("<Q", new_s * NS_PER_S))
    return plain.replace(_varint(_SEQUENCE), _varint(sequence), 1)


def _varint(number: int) -> bytes:
    octets = bytearray()
    while number > 0x7F:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*octets, number])
