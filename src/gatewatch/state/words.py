"""Bytes of arrays, eight at a time: Numba reads one at a time, and asks of each index whether it is negative.

Indices must not be negative, and what is read or written must lie within the array: nothing here checks it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from gatewatch.state.jit import kernel

WORD = 8  # bytes
_HALF = 4


def _loader(bits: int, kind: Any) -> Callable[..., Any]:
    def load(_typing: Any, data: Any, at: Any) -> Any:
        """``load(data, at)``: the bytes from there on as a number, little end first."""
        del at

        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            value = builder.load(_place(context, builder, signature, args, bits), align=1)
            return builder.zext(value, ir.IntType(64)) if bits < 64 else value

        return kind(data, types.int64), emit

    return load


def _storer(bits: int, kind: Any) -> Callable[..., Any]:
    def store(_typing: Any, data: Any, at: Any, value: Any) -> Any:
        """``store(data, at, value)``: the opposite."""
        del at, value

        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            value = builder.trunc(args[2], ir.IntType(bits)) if bits < 64 else args[2]
            builder.store(value, _place(context, builder, signature, args, bits), align=1)
            return context.get_dummy_value()

        return types.void(data, types.int64, kind), emit

    return store


def _place(context: Any, builder: Any, signature: Any, args: Any, bits: int) -> Any:
    array = context.make_array(signature.args[0])(context, builder, args[0])
    first = builder.bitcast(array.data, ir.IntType(8).as_pointer())
    return builder.bitcast(builder.gep(first, [args[1]]), ir.IntType(bits).as_pointer())


word = intrinsic(_loader(64, types.uint64))
half = intrinsic(_loader(32, types.uint64))
byte = intrinsic(_loader(8, types.int64))  # signed: Numba makes a float of a signed and an unsigned number
put_word = intrinsic(_storer(64, types.uint64))
put_half = intrinsic(_storer(32, types.uint64))
put_byte = intrinsic(_storer(8, types.int64))


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def zeros(_typing: Any, number: Any) -> Any:
    """``zeros(number)``: how many of its lowest bits are 0; it must not be 0."""
    del number

    def emit(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), emit


@kernel(inline=True)
def copy(source: npt.NDArray[np.uint8], start: int, size: int, to: npt.NDArray[np.uint8], at: int) -> None:
    """``to[at:at + size] = source[start:start + size]``. The last word may overlap the one before."""
    if size >= WORD:
        for j in range(0, size - WORD, WORD):
            put_word(to, at + j, word(source, start + j))
        put_word(to, at + size - WORD, word(source, start + size - WORD))
    elif size >= _HALF:
        put_half(to, at, half(source, start))
        put_half(to, at + size - _HALF, half(source, start + size - _HALF))
    else:
        for j in range(size):
            put_byte(to, at + j, byte(source, start + j))


@kernel(inline=True)
def equal(a: npt.NDArray[np.uint8], start: int, size: int, b: npt.NDArray[np.uint8], at: int) -> bool:
    """Whether ``a[start:start + size]`` and ``b[at:at + size]`` are the same."""
    if size >= WORD:
        for j in range(0, size - WORD, WORD):
            if word(a, start + j) != word(b, at + j):
                return False
        return bool(word(a, start + size - WORD) == word(b, at + size - WORD))
    if size >= _HALF:
        return bool(half(a, start) == half(b, at) and half(a, start + size - _HALF) == half(b, at + size - _HALF))
    for j in range(size):  # noqa: SIM110 - a kernel: Numba has no generators to give to all()
        if byte(a, start + j) != byte(b, at + j):
            return False
    return True
