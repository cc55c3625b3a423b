"""Which column of the walk's rows holds what."""

from __future__ import annotations

from typing import Final

GAUGE_FIELD: Final = 5  # of Metric
METRIC_COLUMNS: Final = 6  # name from, to, field of the points, temporality, all of it from, to
LEFT_ALONE: Final = -1  # as the field of the points: not walked

# Of sketches and of numbers.
METRIC: Final = 0
KEY_FROM: Final = 1
KEY_TO: Final = 2
START: Final = 3
END: Final = 4

# Of sketches.
COUNT: Final = 5
SCALE: Final = 6
ZEROS: Final = 7
SUM: Final = 8
MIN: Final = 9
MAX: Final = 10
THRESHOLD: Final = 11
SEEN: Final = 12  # a bit for each field of the data point
FIRST: Final = 13  # of the positive side; the negative one's is the next column
TOTAL: Final = 15  # likewise
SKETCH_COLUMNS: Final = 17

# Of numbers.
VALUE: Final = 5
IS_DOUBLE: Final = 6
NUMBER_COLUMNS: Final = 7
