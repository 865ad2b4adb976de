"""The loop over rows: a decayed sum of bytes for each principal."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from gatewatch.sdk import AuthCode, Head, Role, find_or_admit, hold, kernel

TAU_S = 60.0  # the sum forgets over a minute: a steady stream counts its bytes a minute
REPEAT_S = 60.0  # while it goes on it is told of once a minute
ROW = np.dtype([("total", np.float64), ("t", np.float64), ("since", np.float64), ("told", np.float64)])
_WHO = int(Role.WHO)
_SUCCESS = int(AuthCode.SUCCESS)


@kernel
def scan(
    head: Head,
    rows: Any,
    ts: npt.NDArray[np.float64],
    role: npt.NDArray[np.uint8],
    key: npt.NDArray[np.uint64],
    auth: npt.NDArray[np.int8],
    size: npt.NDArray[np.float64],
    limit: float,
    seen: npt.NDArray[np.int64],
    hit_row: npt.NDArray[np.int32],
    hit_total: npt.NDArray[np.float64],
    hit_since: npt.NDArray[np.float64],
) -> int:
    """Add each response to its principal's sum; how many rows went over the limit. Cost: linear."""
    n = 0
    for i in range(ts.shape[0]):
        t = ts[i]
        if role[i] & _WHO == 0 or key[i] == np.uint64(0) or not math.isfinite(size[i]) or size[i] < 0.0:
            continue
        seen[0] += 1
        at, new = find_or_admit(head, key[i], t, auth[i] == _SUCCESS, authenticated_only=True)
        if at < 0:
            continue
        row = rows[at]
        if new:
            row.total, row.t, row.since, row.told = 0.0, t, t, -np.inf
        if t > row.t:
            row.total *= math.exp((row.t - t) / TAU_S)
            row.t = t
        row.total += size[i] * math.exp((t - row.t) / TAU_S)  # a late row weighs what is left of it
        if row.total <= limit:
            row.since = row.t
            row.told = -np.inf
            hold(head, at, held=False)
        elif row.t >= row.told + REPEAT_S:
            row.told = row.t
            hold(head, at, held=True)
            hit_row[n], hit_total[n], hit_since[n] = i, row.total, row.since
            n += 1
    return n
