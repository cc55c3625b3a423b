"""Prometheus' remote write, version 1: a `WriteRequest` in Snappy's block format.

Every sample of a request is of one moment, so who sends requests in the order they were made
sends each series in order of time. A series that has gone is ended by a staleness marker, as a
scrape would ("Prometheus Remote-Write 1.0 specification"; prompb/types.proto).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry

from analytics.prometheus.exposition import buckets
from analytics.prometheus.families import NativeFamily
from analytics.prometheus.native import ZERO_THRESHOLD, NativeHistogram
from analytics.prometheus.wire import double, octets, sint, text, uint, varint

HEADERS: Final = {
    "Content-Encoding": "snappy",
    "Content-Type": "application/x-protobuf",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}
REQUEST_BYTES_MAX: Final = 4 * 2**20  # before compression; a series is never cut in two

# The one NaN that means "ended"; any other is a value (model/value/value.go).
_STALE_OCTETS: Final = (0x7FF0000000000002).to_bytes(8, "little")


class Series:
    """Makes requests, and remembers which series the last ones had."""

    def __init__(self, external: Mapping[str, str]) -> None:
        """Make requests whose series carry `external` labels beside their own."""
        self._external = dict(external)
        self._known: dict[bytes, bool] = {}  # labels: whether a histogram

    def requests(
        self, registry: CollectorRegistry, native: Iterable[NativeFamily], unix_ms: int
    ) -> Iterator[bytes]:
        """Yield the requests of one moment, each of at most about `REQUEST_BYTES_MAX`."""
        now: dict[bytes, bool] = {}
        parts: list[bytes] = []
        size = 0
        for labels, sample, histogram in self._all(registry, native, unix_ms):
            now[labels] = histogram
            series = octets(1, labels + octets(4 if histogram else 2, sample))
            if parts and size + len(series) > REQUEST_BYTES_MAX:
                yield b"".join(parts)
                parts, size = [], 0
            parts.append(series)
            size += len(series)
        for labels, histogram in self._known.items():
            if labels not in now:
                parts.append(octets(1, labels + _ended(unix_ms, histogram=histogram)))
        self._known = now
        if parts:
            yield b"".join(parts)

    def _all(
        self, registry: CollectorRegistry, native: Iterable[NativeFamily], unix_ms: int
    ) -> Iterator[tuple[bytes, bytes, bool]]:
        for metric in registry.collect():
            for sample in metric.samples:
                labels = self._labels(sample.name, sample.labels)
                yield labels, _sample(sample.value, unix_ms), False
        for family in native:
            for of_one, histogram in family.series:
                yield self._labels(family.name, of_one), _histogram(histogram, unix_ms), True

    def _labels(self, name: str, labels: Mapping[str, str]) -> bytes:
        """Encode labels sorted by name, without empty ones: the receiver asks for both."""
        whole = {**self._external, **labels, "__name__": name}
        return b"".join(_label(key, value) for key, value in sorted(whole.items()) if value)


@functools.lru_cache(maxsize=2**16)  # few are different, and each is written with every request
def _label(name: str, value: str) -> bytes:
    return octets(1, text(1, name) + text(2, value))


def snappy(data: bytes) -> bytes:
    """Write Snappy's block format with literals only: any reader takes it, no library is needed.

    Raises:
        ValueError: more than 4 GiB.
    """
    if len(data) >= 2**32:
        raise ValueError(f"{len(data)} octets are more than a Snappy block holds")
    out = [varint(len(data))]
    for start in range(0, len(data), 65536):
        literal = data[start : start + 65536]
        last = len(literal) - 1
        if last < 60:  # noqa: PLR2004 - format_description.txt, section 2.1
            out.append(bytes((last << 2,)))
        elif last < 256:  # noqa: PLR2004
            out.append(bytes((60 << 2, last)))
        else:
            out.append(bytes((61 << 2, last & 0xFF, last >> 8)))
        out.append(literal)
    return b"".join(out)


def _sample(value: float, unix_ms: int) -> bytes:
    return double(1, value) + uint(2, unix_ms)


def _histogram(histogram: NativeHistogram, unix_ms: int) -> bytes:
    return (
        uint(1, histogram.count)
        + double(3, histogram.sum)
        + sint(4, histogram.schema)
        + double(5, ZERO_THRESHOLD)
        + uint(6, histogram.zero_count)
        + buckets(histogram.negative, 8)
        + buckets(histogram.positive, 11)
        + uint(15, unix_ms)
    )


def _ended(unix_ms: int, *, histogram: bool) -> bytes:
    # By its octets: a signalling NaN need not survive as a number.
    stale = bytes((1 << 3 | 1,)) + _STALE_OCTETS
    if histogram:
        return octets(4, bytes((3 << 3 | 1,)) + _STALE_OCTETS + uint(15, unix_ms))
    return octets(2, stale + uint(2, unix_ms))
