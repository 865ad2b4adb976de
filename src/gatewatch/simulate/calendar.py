"""Rows that wait for their time."""

from __future__ import annotations

import numpy as np

from gatewatch.simulate.rows import Rows, joined


class Calendar:
    """A page for each window; rows stand on the page of their time, so no row is copied at every window.

    Args:
        start: when page 0 begins, epoch seconds.
        length_s: of a page.
    """

    def __init__(self, start: float, length_s: float) -> None:
        self._start = start
        self._length_s = length_s
        self._pages: dict[int, list[Rows]] = {}
        self._next = 0

    def add(self, rows: Rows) -> None:
        """Write down rows (in time order); what belongs to a page already taken goes on the next one."""
        if not len(rows):
            return
        page = np.floor((rows["ts"] - self._start) / self._length_s).astype(np.int64)
        np.maximum(page, self._next, out=page)
        numbers, firsts = np.unique(page, return_index=True)
        for number, part in zip(numbers.tolist(), np.split(rows, firsts[1:]), strict=True):
            self._pages.setdefault(number, []).append(part)

    def take(self) -> Rows:
        """The rows of the next page, in time order."""
        parts = self._pages.pop(self._next, [])
        self._next += 1
        return joined(parts)
