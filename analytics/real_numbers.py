"""Values as doubles, from whatever holds real numbers; nothing else is taken for one."""

from __future__ import annotations

from decimal import Decimal
from numbers import Real
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

_KINDS: Final = "biuf"


def real_numbers(values: ArrayLike) -> NDArray[np.float64]:
    """Return values as a contiguous array of doubles, of at least one dimension.

    Raises:
        ValueError: they are not all real numbers: complex ones, times, texts, None.
    """
    array = np.asarray(values)
    if array.dtype.kind not in _KINDS:
        whole = array.ravel().tolist() if array.dtype.kind == "O" else None
        if whole is None or not all(isinstance(each, Real | Decimal) for each in whole):
            raise ValueError(f"values must be real numbers, these are {array.dtype}")
    try:
        return np.ascontiguousarray(array, dtype=np.float64)
    except OverflowError as error:  # a whole number of Python's beyond all doubles
        raise ValueError(f"a value is larger than any double: {error}") from error
