"""What the processor can do, and Python has no word for."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.extending import intrinsic
from numpy.typing import NDArray


def _trailing_zeros(_typing: Any, _word: Any) -> Any:
    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        undefined_for_zero = context.get_constant(types.boolean, True)  # noqa: FBT003
        return builder.cttz(arguments[0], undefined_for_zero)

    return types.uint64(types.uint64), generate


def _trailing_zeros_of(word: np.uint64) -> np.uint64:
    return np.uint64((int(word) & -int(word)).bit_length() - 1)


def _prefetch(_typing: Any, array: Any, place: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        octets, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        address = builder.bitcast(builder.gep(data, [arguments[1]]), octets)
        kind = ir.FunctionType(ir.VoidType(), [octets, number, number, number])
        llvm = builder.module.declare_intrinsic("llvm.prefetch", [octets], kind)
        to_read, keep, of_data = number(0), number(3), number(1)
        builder.call(llvm, [address, to_read, keep, of_data])
        return context.get_dummy_value()

    return types.void(array, place), generate


def _prefetch_nothing(array: NDArray[Any], place: np.int64) -> None:
    """Do what a hint does where nobody heeds it."""


_interpreted: bool = getattr(config, "DISABLE_JIT", False)

trailing_zeros: Any = _trailing_zeros_of if _interpreted else intrinsic(_trailing_zeros)
"""Return which is the lowest bit set of a word that has one."""

prefetch: Any = _prefetch_nothing if _interpreted else intrinsic(_prefetch)
"""Have an element of a contiguous array brought to the cache; a place outside does nothing."""
