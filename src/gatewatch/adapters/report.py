"""Which surprises are told, and of whom: the loop over rows behind every adapter, with the table of its keys."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gatewatch.sdk import Head, find_or_admit, hold, kernel

REPEAT_S = 60.0  # while it goes on, a key is told of once a minute
LAPSE_S = 600.0  # silence of a key after which its excursion is over: as long as decide keeps an episode open
ROW = np.dtype([("since", np.float64), ("told", np.float64), ("t", np.float64)])


@kernel
def report(
    head: Head,
    rows: Any,
    key: npt.NDArray[np.uint64],
    ts: npt.NDArray[np.float64],
    success: npt.NDArray[np.bool_],
    nats: npt.NDArray[np.float64],
    threshold: npt.NDArray[np.float64],
    authenticated_only: bool,
    hit: npt.NDArray[np.int64],
    since: npt.NDArray[np.float64],
) -> int:
    """Count each row on its key; how many are told, which (``hit``) and since when. Cost: about 0.1 us a row.

    A key that has no row is not told of: a stranger's one request is no finding on a key.
    """
    n = 0
    for i in range(ts.shape[0]):
        at, new = find_or_admit(head, key[i], ts[i], success[i], authenticated_only)
        if at < 0:
            continue
        row = rows[at]
        if new:
            row.since, row.told, row.t = ts[i], -np.inf, -np.inf
        if ts[i] > row.t + LAPSE_S:
            row.told = -np.inf  # whatever it is about, it began anew
        row.t = max(row.t, ts[i])
        if row.t < row.told + REPEAT_S:
            continue
        strange = nats[i] >= threshold[i]  # False where nats are NaN: no opinion
        hold(head, at, strange)
        if not strange:
            row.told = -np.inf
            continue
        if row.told == -np.inf:
            row.since = ts[i]
        row.told = row.t
        hit[n], since[n] = i, row.since
        n += 1
    return n
