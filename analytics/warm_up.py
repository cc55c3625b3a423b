"""Having the kernels ready before they are needed: compiled once per machine, then kept on disk.

`python -m analytics.warm_up` does it at installation; a collector does it behind its first
requests, which take the careful way until then.
"""

from __future__ import annotations

import itertools
import logging
import sys
import threading
import time
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from analytics import _kernels
from netslo.model import WINDOW_S

_PATIENCE_S: Final = 8.0  # from the cache it takes less, also on a busy host

_log = logging.getLogger(__name__)


def warm_up(*, of_commands: bool = False) -> bool:
    """Load every kernel of the collector, compiling what is not in the cache; says so if slow.

    Args:
        of_commands: Whether those that only commands use, too.

    Returns False where numba is missing; then numpy does the same, slower.
    """
    began_s = time.monotonic()
    if not _kernels.available():
        return False
    _exercise()
    _kernels.load()
    if of_commands:
        _count_a_little()
    took_s = time.monotonic() - began_s
    if took_s > _PATIENCE_S:
        from analytics._kernels.compilation import kept

        _log.warning("kernels are ready after %.0f s; %s", took_s, kept(_kernels.cache_folder()))
    return True


def warm_up_behind() -> None:
    """Do the same in a thread of its own; until it is done, everything works without kernels."""
    threading.Thread(target=warm_up, name="kernels", daemon=True).start()


def _exercise() -> None:
    """Call every kernel with arrays of the types that it will see."""
    from analytics._kernels import (
        blobs,
        days,
        keys,
        merging,
        points,
        readout,
        sketch,
        sliding,
        walk,
    )
    from analytics.blob_columns import Columns

    octets, rows = np.zeros(8, dtype=np.uint8), np.zeros((0, 17), dtype=np.int64)
    narrow, wide = np.zeros(0, dtype=np.uint32), np.zeros(0, dtype=np.uint64)
    whole, edges = np.zeros(0, dtype=np.int64), np.zeros(1, dtype=np.int64)
    pairs, index = np.zeros((1, 2), dtype=np.int64), np.zeros(1, dtype=np.uint16)
    real, streams = np.zeros(0), np.zeros(0, dtype=np.int32)
    slots, secret = np.zeros(2, dtype=np.int32), np.uint64(0)
    frozen = np.frombuffer(bytes(8), dtype=np.uint8)  # as request bodies are
    walk.walk(frozen, rows, rows, rows, pairs, narrow, narrow, np.zeros(5, dtype=np.int64))
    table, doubles = np.zeros((4, 0), dtype=np.int64), rows.view(np.float64)
    points.settle(
        rows,
        rows,
        rows,
        (doubles, doubles),
        pairs,
        streams,
        np.zeros(0, dtype=np.bool_),
        pairs,
        (0, 0, 0),
        0.0,
        WINDOW_S,
        table,
        table.view(np.float64),
        wide,
        streams,
        whole,
        whole,
        real,
    )
    keys.look_up(frozen, rows, whole, slots, rows, octets, secret, streams)
    keys.enter(slots, rows, 0, octets, secret)
    for counts in (narrow, wide):
        merging.add_runs(edges, counts, whole, wide)
        merging.fill_pairs(whole, edges, counts, edges.copy(), index, counts, whole)
        merging.fill_runs(edges, index, counts, edges, counts)
        for counters in (index, narrow, wide):
            sliding.add_signed(edges, counts, whole, 1, counters)
        readout.row_totals(edges, counts, whole)
        readout.entries_at_ranks(edges, counts, whole, pairs[:0], pairs[:0])
        readout.counts_below(edges, index, counts, whole, pairs[:0])
        readout.row_quantiles(
            edges, index, counts, real, whole, wide, whole, real, real, real, np.zeros((0, 0))
        )
    widths: tuple[NDArray[Any], ...] = (index, narrow, wide)
    for source, copied in itertools.combinations_with_replacement(widths, 2):  # none gets narrower
        sliding.copy_runs(source, whole, whole, whole, copied)
    none = Columns.room(np.zeros(5, dtype=np.int64))
    columns = (none.numbers, none.specials, none.doubles, none.first, none.offsets)
    sides = (none.positive, none.negative)
    blobs.pack_parts(
        np.zeros((1, 3), dtype=np.int64),
        *columns,
        *sides,
        none.stream,
        none.start_s,
        none.value,
        0,
        octets,
        whole,
    )
    blobs.measure(frozen, whole, np.zeros((0, 5), dtype=np.int64))
    blobs.unpack_all(
        frozen,
        whole,
        np.zeros((0, 5), dtype=np.int64),
        *columns,
        *sides,
        none.stream,
        none.start_s,
        none.value,
    )
    days.add_days(frozen, whole, whole, 0, 0, whole, narrow.reshape(0, 0))
    days.unpack_days(frozen, whole, whole, streams, whole, wide)
    sketch.count_coarse(real, 0, 0, wide)


def _count_a_little() -> None:
    """Count, merge, read and convolve a few values as commands do, by kernels that are loaded."""
    from analytics._kernels import convolution
    from analytics.convolution import convolve
    from analytics.pairs import added, no_pairs
    from analytics.sketch import Sketch
    from analytics.table import SketchTable

    whole = Sketch()
    whole.add(np.geomspace(1e-3, 1.0, _kernels.LARGE))
    convolve(whole, whole)
    real, numbers = np.zeros(0), np.zeros(0, dtype=np.int64)
    convolution.add_half(real, real, numbers, numbers, 0, real)
    table = SketchTable(1)
    table.add([0, 0], [1.0, 0.0])  # parted
    table.add(np.zeros(200, dtype=np.int32), np.ones(200))  # counted densely
    table.quantiles([0.5])
    narrow = no_pairs(1, whole.scale, 0)
    wide = replace(narrow, counts=narrow.counts.astype(np.uint64))
    for left, right in itertools.product((narrow, wide), repeat=2):
        added(left, right)


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    warm_up(of_commands=True)
