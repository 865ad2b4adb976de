"""Ask for memory before it is needed: a look-up in a table larger than the cache waits for DRAM, some 100 ns each time.

Nothing is read or changed, so results do not depend on it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

LINE_BYTES = 64  # of a cache line, on every processor that people run this on


def by_lines(n: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """(n,) zeros that begin with a cache line, so that what is aligned in the array is so in memory.

    Numpy's own begin 16 bytes into a page: a block of one line is then on two, 15 % of a look-up that misses the cache.
    """
    item = np.dtype(dtype).itemsize
    raw = np.zeros(n * item + LINE_BYTES, np.uint8)
    skip = -raw.ctypes.data % LINE_BYTES
    return raw[skip : skip + n * item].view(dtype)


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def prefetch(_typing: Any, array: Any, at: Any, skip: Any) -> Any:
    """``prefetch(array, at, skip)``: fetch the cache line ``skip`` bytes into the ``at``-th element of a C array.

    Use it in kernels only. An element that does not exist is no error: the processor ignores what it cannot fetch.
    Cost: an instruction or two.
    """
    return types.void(array, at, skip), _emit


def _emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    array = context.make_array(signature.args[0])(context, builder, args[0])
    wide = context.get_value_type(types.intp)
    at = context.cast(builder, args[1], signature.args[1], types.intp)
    skip = context.cast(builder, args[2], signature.args[2], types.intp)
    offset = builder.add(builder.mul(at, array.itemsize), skip)
    address = builder.inttoptr(builder.add(builder.ptrtoint(array.data, wide), offset), cgutils.voidptr_t)
    flag = ir.IntType(32)
    function = builder.module.declare_intrinsic(
        "llvm.prefetch", [cgutils.voidptr_t], ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, flag, flag, flag])
    )
    to_write, keep, data = flag(1), flag(3), flag(1)  # LLVM language reference, "llvm.prefetch"
    builder.call(function, [address, to_write, keep, data])
    return context.get_dummy_value()
