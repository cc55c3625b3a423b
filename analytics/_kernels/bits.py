"""What the processor knows of a word's bits, and Python has no word for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import config, types
from numba.extending import intrinsic


def _trailing_zeros(_typing: Any, _word: Any) -> Any:
    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        undefined_for_zero = context.get_constant(types.boolean, True)  # noqa: FBT003
        return builder.cttz(arguments[0], undefined_for_zero)

    return types.uint64(types.uint64), generate


def _trailing_zeros_of(word: np.uint64) -> np.uint64:
    return np.uint64((int(word) & -int(word)).bit_length() - 1)


_interpreted: bool = getattr(config, "DISABLE_JIT", False)

trailing_zeros: Any = _trailing_zeros_of if _interpreted else intrinsic(_trailing_zeros)
"""Return which is the lowest bit set of a word that has one."""
