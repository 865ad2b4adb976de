"""Values of a source as raw columns: plain native ones by the kernel, all others by their format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from gatewatch.events.formats.base import BadElement, Format
from gatewatch.events.formats.native import Native
from gatewatch.ingest.raw import Raw, columns_of, joined
from gatewatch.ingest.scan import scan


@dataclass(slots=True)
class Read:
    """Rows of some values in order, which value and which element in it each is of, and what could not be read."""

    raw: Raw
    value_index: npt.NDArray[np.int64]
    element_index: npt.NDArray[np.int64]
    bad: list[BadElement]

    @property
    def n(self) -> int:
        """How many events there are."""
        return self.raw.n

    @property
    def dead(self) -> int:
        """How many elements could not be read."""
        return sum(bad.count for bad in self.bad)

    @property
    def dead_at_end(self) -> int:
        """How many of them come after the last event."""
        last = (int(self.value_index[-1]), int(self.element_index[-1])) if self.n else (-1, -1)
        return sum(bad.count for bad in self.bad if (bad.value_index, bad.element_index) > last)


def read(form: Format, values: Sequence[bytes | None]) -> Read:
    """Read some values of a source. Never raises."""
    if type(form) is not Native:
        return _decoded(form, values)
    plain = scan(values)
    if not len(plain.odd):
        return Read(plain.raw, plain.value_index, plain.element_index, [])
    rest = _decoded(form, [values[at] for at in plain.odd])
    value_index = np.concatenate([plain.value_index, plain.odd[rest.value_index]])
    order = np.argsort(value_index, kind="stable")
    element_index = np.concatenate([plain.element_index, rest.element_index])
    bad = [replace(bad, value_index=int(plain.odd[bad.value_index])) for bad in rest.bad]
    return Read(joined([plain.raw, rest.raw]).take(order), value_index[order], element_index[order], bad)


def _decoded(form: Format, values: Sequence[bytes | None]) -> Read:
    decoded = form.decode(values)
    return Read(
        columns_of(decoded.events),
        np.asarray(decoded.value_index, np.int64),
        np.asarray(decoded.element_index, np.int64),
        decoded.bad,
    )
