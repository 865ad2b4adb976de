"""Rows for endpoints with their models: bounded, found by key; each learns, is frozen, and may begin anew."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from . import constants as k
from .layout import PRINCIPALS, ROW, VERSIONS
from .statistic import calibrated


class Memory:
    """At most ``room`` rows. One that was not seen for a day may give its place to a newcomer; else newcomers wait."""

    def __init__(self, room: int) -> None:
        self.rows: npt.NDArray[np.void] = np.zeros(room, ROW)
        self.counts = np.zeros(2, np.int64)  # evicted, refused
        self._places: dict[int, int] = {}

    @property
    def used(self) -> int:
        """Rows that hold a key."""
        return len(self._places)

    @property
    def full(self) -> bool:
        """Whether a newcomer must wait, or take another's row."""
        return len(self._places) == len(self.rows)

    def find(self, key: int) -> int:
        """The row of a key, or -1."""
        return self._places.get(key, -1)

    def admit(self, key: int, now: float) -> int:
        """The row of a key, a new one if need be; -1 where there is no room."""
        at = self._places.get(key, -1)
        if at >= 0:
            return at
        at = len(self._places)
        if at == len(self.rows):
            at = int(np.argmin(self.rows["seen"]))
            if now - self.rows["seen"][at] < k.QUIET_S:
                self.counts[1] += 1
                return -1
            self.counts[0] += 1
            del self._places[int(self.rows["key"][at])]
        self.rows[at] = np.zeros((), ROW)
        self.rows["key"][at] = key
        begin(self.rows[at], now)
        self._places[key] = at
        return at

    def index(self) -> None:
        """Find rows again after they were restored."""
        held = np.flatnonzero(self.rows["key"])
        self._places = {int(self.rows["key"][at]): int(at) for at in held}


def begin(row: Any, now: float) -> None:
    """Learn from here on: a new key, or one whose change is the new normal."""
    row["since"] = row["seen"] = now
    row["fitted_at"] = row["changed_at"] = np.inf
    row["told_at"] = -np.inf
    row["n"] = row["skipped"] = 0
    row["stride"] = 1
    row["usual_callers"] = row["usual_versions"] = 0.0
    row["slow"] = 0.0
    open_window(row, now)


def open_window(row: Any, now: float) -> None:
    """Begin a window."""
    row["began"] = now
    row["answers"] = row["next"] = 0.0
    row["window"] = row["callers"] = row["versions"] = 0.0


def keep(row: Any) -> bool:
    """Keep the window for the reference, if it is its turn; whether the reference should be made anew."""
    row["skipped"] += 1
    if row["skipped"] < row["stride"]:
        return False
    row["skipped"] = 0
    if row["n"] == k.KEPT:
        if row["stride"] < k.MOST_STRIDE:
            row["kept"][: k.KEPT // 2] = row["kept"][::2].copy()
            row["stride"] *= 2
        else:
            row["kept"][: k.KEPT // 2] = row["kept"][k.KEPT // 2 :].copy()
        row["n"] = k.KEPT // 2
    row["kept"][row["n"]] = row["window"]
    row["n"] += 1
    for name, room in (("callers", PRINCIPALS), ("versions", VERSIONS)):
        total = float(row[name].sum())
        if total > 0.0:  # each window counts the same, and the older ones fade as those that are kept
            row[f"usual_{name}"] += (row[name] / total - row[f"usual_{name}"]) / min(float(row["n"]), room)
    return bool(row["n"] == k.KEPT)


def fit(row: Any, least: float, now: float) -> None:
    """Make the reference of the windows kept, and freeze it."""
    kept = row["kept"][: row["n"]].astype(np.float64)
    row["reference"], row["mean"], row["sd"], run = calibrated(kept, least)
    row["run"] = run * row["stride"]
    row["fitted_at"] = now
    row["slow"] = 0.0
