"""The numbers of a batch as records: one array of rows, where Arrow has some fifty arrays of columns.

What a batch costs beside its rows is what its columns cost: each is a microsecond to get from Arrow, and a tenth of one
for each kernel that takes it. At ten rows a batch that was nine tenths of all that detectors took. So one kernel reads
Arrow's own memory, by its C data interface, and all others take the records that it makes.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt
from numba.core import types
from numba.extending import intrinsic

from gatewatch.errors import UnreadableError
from gatewatch.events.batch import ABSENT, NUMBERS, ROUTED, Batch
from gatewatch.state.jit import kernel

Rows = npt.NDArray[np.void]
# The widest fields first, so that none is padded
ROW = np.dtype(
    sorted(
        ((name, np.dtype(ROUTED.field(name).type.to_pandas_dtype())) for name in NUMBERS),
        key=lambda field: -field[1].itemsize,
    ),
    align=True,
)
_WORDS = ROW.itemsize // 8
_OFFSETS = np.array([ROW.fields[name][1] for name in NUMBERS], np.int64)  # type: ignore[index]  # it has fields
_SIZES = np.array([ROW[name].itemsize for name in NUMBERS], np.int64)
_BLOCK = (
    64  # rows that are made together, 17 kB: they stay in the nearest cache while one column after another fills them
)
# Words of Arrow's C structure `ArrowArray` (Arrow's documentation, "The Arrow C data interface")
_NULLS, _FIRST, _BUFFERS, _CHILDREN = 1, 2, 5, 6
_I64, _U64, _U32, _U16, _U8 = np.int64, np.uint64, np.uint32, np.uint16, np.uint8
_pointer_in = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


def _absent() -> npt.NDArray[np.uint64]:
    row = np.zeros(1, ROW)
    for name, value in ABSENT.items():
        row[name] = value
    return row.view(np.uint64)


_ABSENT = _absent()


def rows_of(batch: Batch) -> Rows:
    """(n,) records with a field for each numeric column of ``ROUTED``, read-only; all detectors share them.

    What is absent is NaN, -1 or 0, as in the columns. Cost: about 15 us a batch, and 0.03 us a row.

    Raises:
        UnreadableError: a number is null, which no worker writes.
    """
    rows: Rows | None = batch.memo.get("rows")
    if rows is None:
        rows = np.empty(batch.n, ROW)
        _schema, exported = batch.arrow.__arrow_c_array__()
        words = rows.view(np.uint64)
        if not _fill(_pointer_in(exported, b"arrow_array"), batch.columns.numbers, _OFFSETS, _SIZES, _ABSENT, words):
            raise UnreadableError("a batch with nulls in its numbers")
        rows.flags.writeable = False
        batch.memo["rows"] = rows
    return rows


def no_rows() -> Rows:
    """None, of the type that kernels are compiled for."""
    rows = np.zeros(0, ROW)
    rows.flags.writeable = False
    return rows


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def _load(_typing: Any, _address: Any, like: Any) -> Any:
    """``_load(address, like)``: the number at an address, of the type that ``like`` has."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = context.get_value_type(signature.return_type)
        return builder.load(builder.inttoptr(args[0], kind.as_pointer()), align=1)

    return like(types.int64, like), emit


@kernel
def _fill(
    exported: int,
    places: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.int64],
    absent: npt.NDArray[np.uint64],
    words: npt.NDArray[np.uint64],
) -> bool:
    """Fill ``words``, the memory of the rows, from an ``ArrowArray`` at an address; False where a number is null."""
    children, skipped = _word(exported, _CHILDREN), _word(exported, _FIRST)
    n = words.shape[0] // _WORDS
    for low in range(0, n, _BLOCK):
        high = min(n, low + _BLOCK)
        for i in range(low, high):
            for w in range(_WORDS):
                words[i * _WORDS + w] = absent[w]
        for c in range(places.shape[0]):
            if places[c] < 0:
                continue
            child = _word(children, places[c])
            buffers = _word(child, _BUFFERS)
            if _word(child, _NULLS) != 0 and _word(buffers, 0) != 0:
                return False
            first = skipped + _word(child, _FIRST)
            _copy(_word(buffers, 1) + sizes[c] * first, sizes[c], offsets[c], words, low, high)
    return True


@kernel
def _word(address: int, at: int) -> int:
    return int(_load(address + 8 * at, _I64(0)))


@kernel
def _copy(source: int, size: int, offset: int, words: npt.NDArray[np.uint64], low: int, high: int) -> None:
    """Rows ``low`` to ``high`` of one column, whose values are ``size`` bytes each, to their places."""
    at = 8 * _WORDS * low + offset  # in bytes
    if size == 8:
        for i in range(low, high):
            words[at // 8] = _load(source + 8 * i, _U64(0))
            at += 8 * _WORDS
    elif size == 4:
        halves = words.view(np.uint32)
        for i in range(low, high):
            halves[at // 4] = _load(source + 4 * i, _U32(0))
            at += 8 * _WORDS
    elif size == 2:
        shorts = words.view(np.uint16)
        for i in range(low, high):
            shorts[at // 2] = _load(source + 2 * i, _U16(0))
            at += 8 * _WORDS
    else:
        single = words.view(np.uint8)
        for i in range(low, high):
            single[at] = _load(source + i, _U8(0))
            at += 8 * _WORDS
