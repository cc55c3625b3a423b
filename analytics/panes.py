"""The points of a span of time, kept until they leave every horizon.

Points come as frames. When a span is over, what it holds is merged and packed, so that it takes
little memory; what comes late is kept beside and packed with it later.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics.blobs import pack, unpack
from analytics.frame import Frame, concatenated
from analytics.sketch import Sketch
from analytics.tables import Distributions

_FRAMES_MAX: Final = 16  # before they are merged


@dataclass(frozen=True, slots=True)
class Extremes:
    """What cannot be taken away again from sums over panes, by stream."""

    stream: NDArray[np.int32]
    sum: NDArray[np.float64]
    min: NDArray[np.float64]
    max: NDArray[np.float64]

    @classmethod
    def of(cls, table: Distributions) -> Extremes:
        s = table.statistics
        return cls(table.stream, s.sum, s.min, s.max)


@dataclass(slots=True)
class Pane:
    """All points of windows that begin in [start_s, start_s + length_s)."""

    start_s: int
    length_s: int
    _frames: list[Frame] = field(default_factory=list)
    _packed: bytes = b""
    _extremes: Extremes | None = None  # of what is packed
    _sketches: dict[int, Sketch] = field(default_factory=dict)  # of streams asked for
    _asked: frozenset[int] = frozenset()

    def add(self, frame: Frame) -> None:
        """Keep more points."""
        self._sketches, self._asked = {}, frozenset()
        self._frames.append(frame)
        if len(self._frames) > _FRAMES_MAX:
            if self._packed:
                self.pack()
            else:
                self._frames = [self._merged()]

    def pack(self) -> None:
        """Make the pane small: nothing more is expected."""
        if self._frames:
            whole = self._merged()
            self._packed = pack(whole)
            self._extremes = Extremes.of(whole.distributions)
            self._frames = []

    def frames(self) -> list[Frame]:
        """Return all points; those of one stream may lie in several frames and rows."""
        packed = [unpack([self._packed], self.length_s)] if self._packed else []
        return packed + self._frames

    def sketches(self, streams: Collection[int]) -> Mapping[int, Sketch]:
        """Return the distributions of some streams; remembered until more points come."""
        if not self._asked.issuperset(streams):
            self._asked = frozenset(streams)
            self._sketches = {}
            for frame in self.frames():
                table = frame.distributions
                wanted = np.flatnonzero(np.isin(table.stream, list(self._asked)))
                for row in wanted.tolist():
                    whole = self._sketches.setdefault(int(table.stream[row]), Sketch())
                    whole.merge(table.sketch(row))
        return self._sketches

    def extremes(self) -> Iterator[Extremes]:
        """Yield sums and extremes, without unpacking anything."""
        if self._extremes is not None:
            yield self._extremes
        for frame in self._frames:
            yield Extremes.of(frame.distributions)

    @property
    def nbytes(self) -> int:
        """About how much memory the pane takes."""
        packed = len(self._packed) + (28 * len(self._extremes.stream) if self._extremes else 0)
        return packed + sum(frame.nbytes for frame in self._frames)

    def _merged(self) -> Frame:
        frames = self.frames()
        return concatenated(frames, self.length_s).summed(self.start_s, self.length_s)
