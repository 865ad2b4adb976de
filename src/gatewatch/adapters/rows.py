"""Rows of a batch as named tuples: what a model in plain Python looks at, and what it is remembered by."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gatewatch.events.batch import ABSENT, ROUTED, STRINGS
from gatewatch.sdk import Batch

TEXT_MAX = 64  # characters of a text that a model sees: what it learned from is kept, in rows of fixed size


class EventModel(Protocol):
    """What a team writes: any class with these two methods.

    It must be a pure function of the events that it has learned, in their order: no clock, no randomness without a
    fixed seed, and ``score`` changes nothing.
    """

    def score(self, event: Any) -> float | None:
        """How strange the event is, higher is stranger; None for no opinion."""
        ...

    def learn(self, event: Any) -> None:
        """Take the event for normal."""
        ...


class Reader:
    """Makes events of the columns that a model reads.

    Args:
        columns: names of ``ROUTED``. Numbers are Python numbers (NaN and -1 say "absent"), texts are cut to
            ``TEXT_MAX`` characters ("" says "absent").
        key: the column of the key.

    Attributes:
        dtype: of one remembered event.

    Raises:
        ValueError: no such column, or it is a list.
    """

    def __init__(self, columns: Sequence[str], key: str) -> None:
        wrong = [name for name in columns if name not in ABSENT and name not in STRINGS]
        if wrong:
            raise ValueError(f"no number or text in an event's row: {', '.join(wrong)}")
        self._columns, self._key = tuple(columns), key
        kinds = [(name, f"U{TEXT_MAX}" if name in STRINGS else _kind(name)) for name in self._columns]
        self.dtype = np.dtype([("key", np.uint64), ("ts", np.float64), *kinds])
        # Its fields are known at run time only, and a class of typing's cannot be made of such
        self._event: Any = namedtuple("Event", self.dtype.names or ())  # type: ignore[misc]  # noqa: PYI024

    def block(self, batch: Batch, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.void]:
        """Those rows, as an array of ``dtype``. Cost: one pass a column."""
        block = np.zeros(rows.shape[0], self.dtype)
        block["key"] = batch.column(self._key)[rows]
        block["ts"] = batch.ts[rows]
        for name in self._columns:
            if name not in STRINGS:
                block[name] = batch.column(name)[rows]
            elif batch.has(name):
                block[name] = [text or "" for text in batch.arrow.column(name).take(rows).to_pylist()]
        return block

    def events(self, block: npt.NDArray[np.void]) -> list[Any]:
        """Named tuples of plain Python values. Cost: about 1 us a row."""
        return list(map(self._event._make, block.tolist()))


def _kind(name: str) -> Any:
    return ROUTED.field(name).type.to_pandas_dtype()
