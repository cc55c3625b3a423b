"""Requests straight into columns: what a plain request says, without an object per point.

Protobuf's own parser validates all but the points, then one compiled walk, stricter than it,
validates these and turns them into arrays; attributes are parsed when they are first met. A
request is plain when it is one batch of known streams and nothing in it needs a decision;
whatever is not plain is left to `analytics.otlp.decode`, which can say what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    ExponentialHistogramDataPoint,
    Metric,
    NumberDataPoint,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from analytics import _kernels
from analytics._kernels import walk_columns as columns
from analytics.frame import Frame
from analytics.otlp.decode import DELTA, Limits, MalformedRequest, decode_request
from analytics.otlp.fields import Refused, data_points, read_attributes, read_site, read_text
from analytics.otlp.framing import is_framed
from analytics.otlp.histogram import SPECIAL_COUNTS
from analytics.otlp.instruments import FIELDS, HISTOGRAM, INSTRUMENTS, SIGNED
from analytics.otlp.keys import KeyTable
from analytics.otlp.now_and_then import is_now_and_then, read_told
from analytics.otlp.subjects import read_subject
from analytics.otlp.walked import Walked, frame_of
from analytics.readings import Told
from analytics.sketch import COUNT_MAX
from analytics.streams import About, Streams
from analytics.windows import SeriesKey
from netslo import metrics

_METRICS_MAX: Final = 64
_OCTETS_PER_POINT: Final = 40  # at least: times and a value alone take as many
_SITES_MAX: Final = 10_000

# What the known metrics are: the field of Metric that holds their points.
_FIELDS: Final = {name: FIELDS[instrument.kind] for name, instrument in INSTRUMENTS.items()}
_NAMES: Final = tuple(_FIELDS)
_KIND: Final = {name.encode(): kind for kind, name in enumerate(_NAMES)}
_SIGNED: Final = np.array([name in SIGNED for name in _NAMES])

Known = Callable[[str, SeriesKey, About], bool]


@dataclass(frozen=True, slots=True)
class Received:
    """A batch as columns."""

    site: str
    instance: str
    sequence: int
    frame: Frame
    total: int  # of all counts: none of them is larger
    told: tuple[Told, ...] = ()  # beside its windows; not of a body that is read again


class FrameReader:
    """Reads plain requests. Not thread-safe.

    `known(site, series, about)` says whether a probe at `site` may speak of a stream; it is
    asked once for each way to spell it.
    """

    def __init__(self, streams: Streams, known: Known) -> None:
        self._streams = streams
        self._known = known
        self._limits = Limits()
        self._keys = KeyTable()
        self._room = _Room(0, 0)
        self._sites: dict[str, int] = {}

    def read(self, body: bytes) -> Received | None:
        """Return what a request from the network says; None where it is not plain.

        Also until the kernels are loaded: whoever expects many requests loads them.
        """
        if not _kernels.loaded():
            return None
        return self._read(body) if is_framed(body) else None

    def read_again(self, body: bytes) -> Received | None:
        """Return the windows of a request of one batch that was accepted before."""
        received = self._read(body, again=True) if _kernels.pays(len(body)) else None
        return received or self._read_carefully(body)

    def _read_carefully(self, body: bytes) -> Received | None:
        try:
            decoded = decode_request(body, self._limits)
        except MalformedRequest:
            return None
        if len(decoded.batches) != 1 or decoded.rejected or decoded.health:
            return None
        (batch,) = decoded.batches
        frame = Frame.of(batch.windows, self._streams)
        return Received(batch.site, batch.instance_id, batch.sequence, frame, frame.total())

    def _read(self, body: bytes, *, again: bool = False) -> Received | None:
        if len(body) > self._room.octets:
            self._room = _Room(len(body), self._limits.points_max)
        walked = _walk(body, self._limits.points_max, self._room)
        identity = None if walked is None else self._identity(walked)
        if walked is None or identity is None:
            return None
        kinds = self._kinds(walked, identity[0])
        if kinds is None:
            return None
        of_sketches = self._streams_of(walked, walked.sketches, kinds, identity[0])
        of_numbers = self._streams_of(walked, walked.numbers, kinds, identity[0])
        if of_sketches is None or of_numbers is None:
            return None
        signed = _SIGNED[kinds % len(_NAMES)]
        sound = frame_of(walked, of_sketches, of_numbers, signed)
        told = () if again else self._told(walked)
        if sound is None or sound[1] > COUNT_MAX or told is None:
            return None
        return Received(*identity, *sound, told)

    def _told(self, walked: Walked) -> tuple[Told, ...] | None:
        """Return the points that the walk left alone; None where one of them is refused."""
        limits, found = self._limits, list[Told]()
        left = walked.metrics[walked.metrics[:, 2] == columns.LEFT_ALONE]
        for begin, end in left[:, 4:6].tolist():
            try:
                metric = Metric.FromString(walked.body[begin:end])
                if not is_now_and_then(metric.name):
                    return None
                found += [
                    read_told(metric, point, limits.attributes_max) for point in data_points(metric)
                ]
            except (DecodeError, Refused):
                return None
        return tuple(found) if len(found) <= limits.told_max else None

    def _identity(self, walked: Walked) -> tuple[str, str, int] | None:
        """Return site, instance and sequence as the resource says them."""
        try:
            resource = Resource.FromString(walked.body[walked.resource])
            attributes = read_attributes(resource.attributes, self._limits.attributes_max)
            site = read_site(attributes)
            instance = read_text(attributes, metrics.ATTR_INSTANCE)
        except (DecodeError, Refused):
            return None
        sequence: object = attributes.get(metrics.ATTR_SEQUENCE)
        if not isinstance(sequence, int) or isinstance(sequence, bool) or sequence < 0:
            return None
        return (site, instance, sequence) if instance else None

    def _kinds(self, walked: Walked, site: str) -> NDArray[np.int64] | None:
        """Return what each metric is, told apart by site as well; None where one is not known.

        The same path may be spoken of by one site and not by another.
        """
        if len(self._sites) >= _SITES_MAX:
            self._sites.clear()
            self._keys = KeyTable()
        offset = self._sites.setdefault(site, len(self._sites)) * len(_NAMES)
        kinds = []
        for begin, end, field, temporality, *_ in walked.metrics.tolist():
            if field == columns.LEFT_ALONE:
                kinds.append(offset)  # no row asks for it
                continue
            kind = _KIND.get(walked.body[begin:end])
            if kind is None or _FIELDS[_NAMES[kind]] != field:
                return None
            if field != columns.GAUGE_FIELD and temporality != DELTA:
                return None
            kinds.append(offset + kind)
        return np.array(kinds, dtype=np.int64)

    def _streams_of(
        self,
        walked: Walked,
        rows: NDArray[np.int64],
        kinds: NDArray[np.int64],
        site: str,
    ) -> NDArray[np.int32] | None:
        found, unknown = self._keys.look_up(walked.octets, rows, kinds)
        if not unknown:
            return found
        fresh: dict[tuple[int, bytes], None] = {}  # in order: they will be asked for in that order
        for metric, begin, end in rows[found < 0, :3].tolist():
            fresh[int(kinds[metric]), walked.body[begin:end]] = None
        spelt = []
        for kind, key in fresh:
            stream = self._stream(_NAMES[kind % len(_NAMES)], key, site)
            if stream is None:
                break
            spelt.append((kind, key, stream))
        self._keys.enter_all(spelt)
        if len(spelt) < len(fresh):
            return None
        found, unknown = self._keys.look_up(walked.octets, rows, kinds)
        return None if unknown else found

    def _stream(self, name: str, key: bytes, site: str) -> int | None:
        """Return the stream that attributes spell; None where it is refused."""
        spellings = self._streams.spellings
        number = spellings.find(name, key)
        if number is not None:
            stream = self._streams[number]
            return number if self._known(site, stream.series, stream.about) else None
        subject = self._read_subject(name, key)
        if subject is None or not self._known(site, *subject):
            return None  # before it has a number: a peer may ask for endless ones
        number = self._streams.number(*subject)
        spellings.note(name, key, number)
        return number

    def _read_subject(self, name: str, key: bytes) -> tuple[SeriesKey, About] | None:
        """Read attributes the careful way; None where they are refused."""
        histogram = INSTRUMENTS[name].kind == HISTOGRAM
        point: Any = ExponentialHistogramDataPoint if histogram else NumberDataPoint
        try:
            pairs = point.FromString(key).attributes
            attributes = read_attributes(pairs, self._limits.attributes_max)
            subject = read_subject(name, attributes)
        except (DecodeError, Refused):
            return None
        return None if any(special in attributes for special in SPECIAL_COUNTS) else subject


class _Room:
    """Where a walk writes, used again for the next request: fresh memory costs more than the walk.

    Room for any request of so many octets, and no more than `points_max` points.
    """

    def __init__(self, octets: int, points_max: int) -> None:
        points = min(points_max, octets // _OCTETS_PER_POINT + 1)
        self.octets = octets
        self.names = np.empty((_METRICS_MAX, columns.METRIC_COLUMNS), dtype=np.int64)
        self.sketches = np.empty((points, columns.SKETCH_COLUMNS), dtype=np.int64)
        self.numbers = np.empty((points, columns.NUMBER_COLUMNS), dtype=np.int64)
        self.offsets = np.empty((points + 1, 2), dtype=np.int64)
        self.positive, self.negative = (np.empty(octets, dtype=np.uint32) for _ in range(2))


def _walk(body: bytes, points_max: int, room: _Room) -> Walked | None:
    """Return the points of a request; what it shares with `room` holds until the next one."""
    from analytics._kernels import walk as kernel

    octets = np.frombuffer(body, dtype=np.uint8)
    names, sketches, numbers, offsets = room.names, room.sketches, room.numbers, room.offsets
    positive, negative = room.positive, room.negative
    found = np.empty(5, dtype=np.int64)
    if kernel.walk(octets, names, sketches, numbers, offsets, positive, negative, found):
        return None
    metric_count, sketch_count, number_count, begin, end = found.tolist()
    if sketch_count + number_count > points_max:
        return None
    ends = offsets[sketch_count]
    return Walked(
        body,
        octets,
        slice(begin, end),
        names[:metric_count],
        sketches[:sketch_count],
        numbers[:number_count],
        offsets[: sketch_count + 1],
        positive[: ends[0]].copy(),
        negative[: ends[1]].copy(),
    )
