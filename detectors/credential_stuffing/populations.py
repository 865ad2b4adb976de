"""The rows of populations: one of everything, and one of each project, up to a limit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from gatewatch.sdk import Kind, Scope, StateError, TableStats

from .cusum import PRIOR_RATIO, PRIOR_WEIGHT, RHO

KEYS_MAX = 1025  # everything, and 1,024 projects
MINUTE_S = 60.0
HOLD_MIN = 5  # of a failed first contact, for it to be made good: most people need a minute or two
UNKNOWN, FIRST = 0, 1  # which failures: on accounts that do not exist; by a network on an account for the first time

Rows = npt.NDArray[np.void]

# One key's numbers. [2]: by kind of failure; [2, rhos]: by test.
ROW = np.dtype(
    [
        ("key", "u8"), ("kind", "u1"), ("seen", "f8"), ("born", "f8"),
        ("x", "f8", (2,)), ("successes", "f8"), ("firsts", "f8"), ("recovered", "f8"),  # of the minute that is open
        ("held", "f8", (HOLD_MIN,)),  # failed first contacts of the last minutes, the oldest first: usual.unrecovered
        ("smooth", "f8", (2,)), ("usual", "f8"), ("fast", "f8"), ("total", "f8"),  # successes
        ("bad", "f8", (2,)), ("good", "f8", (2,)),  # learned: failures, and the successes they are measured by
        ("back", "f8"),  # learned: people who failed and recovered
        ("came_back", "f8"), ("came_usually", "f8"),  # their mean of the last minutes, and of a quarter of an hour
        ("minutes", "f8"),  # in which that was learned
        ("hour_x", "f8", (2,)), ("hour_m", "f8", (2,)), ("hour_min", "f8"),  # of the hour that teaches
        ("excess", "f8", (2,)), ("square", "f8", (2,)), ("hours", "f8"),  # moments of the dispersion
        ("before", "f8", (2, len(RHO))), ("age", "f8", (2, len(RHO))),  # the test's window: s when it began, minutes
        ("window_x", "f8", (2, len(RHO))), ("window_m", "f8", (2, len(RHO))),
        ("s", "f8", (2, len(RHO))), ("evidence", "f8", (2, len(RHO))), ("since", "f8", (2, len(RHO))),
        ("sum_x", "f8", (2, len(RHO))), ("sum_m", "f8", (2, len(RHO))), ("sum_ok", "f8", (2, len(RHO))),
        ("frozen_since", "f8"), ("told", "f8"), ("fresh", "f8", (2, len(RHO))),
        ("released_until", "f8"),  # so long a person expects the failures
    ]
)  # fmt: skip


class Populations:
    """All keys' rows.

    Attributes:
        rows: (keys,) of :data:`ROW`; a key keeps its place until it has to make room.

    Memory: 500 bytes a key, :data:`KEYS_MAX` of them at most.
    """

    def __init__(self) -> None:
        self.rows: Rows = np.zeros(0, ROW)
        self._at: dict[tuple[int, int], int] = {}

    def place(self, scope: Scope, key: int) -> int | None:
        """Where the row of a key stands; there is one of everything, whatever it is called."""
        return self._at.get((int(Kind.ALL), 0) if scope is Scope.ALL else (int(Kind.PROJECT), key))

    def admit(self, kind: int, key: int, now: float) -> int:
        """The key's row, a new one if need be; the one longest without a login makes room. -1: everybody is busier."""
        at = self._at.get((kind, key))
        if at is not None:
            return at
        if len(self.rows) < KEYS_MAX:
            self.rows = np.concatenate([self.rows, np.zeros(1, ROW)])
            at = len(self.rows) - 1
        else:
            at = int(np.argmin(np.where(self.rows["kind"] == Kind.ALL, np.inf, self.rows["seen"])))
            if self.rows["seen"][at] > now - MINUTE_S:
                return -1
            del self._at[int(self.rows["kind"][at]), int(self.rows["key"][at])]
        self._at[kind, key] = at
        self.rows[at] = np.zeros((), ROW)
        for name, value in (("kind", kind), ("key", key), ("born", now), ("seen", now), ("told", -np.inf)):
            self.rows[name][at] = value
        self.rows["bad"][at] = PRIOR_RATIO * PRIOR_WEIGHT
        self.rows["good"][at] = PRIOR_WEIGHT
        return at

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Become what was saved as ``rows``.

        Raises:
            StateError: another version.
        """
        if arrays["rows"].dtype != ROW:
            raise StateError("credential_stuffing: the snapshot of its populations is another version's")
        self.rows = arrays["rows"].copy()
        self._at = {(int(row["kind"]), int(row["key"])): i for i, row in enumerate(self.rows)}

    def stats(self) -> TableStats:
        """How full it is."""
        return TableStats(len(self.rows), KEYS_MAX, 0, 0, int(self.rows.nbytes))
