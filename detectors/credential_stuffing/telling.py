"""When a key is told of again, and what a finding says."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gatewatch.sdk import kernel

from .constants import (
    AT_ONCE,
    BROKEN,
    CRACKING,
    DAY_S,
    DISTRIBUTED,
    FLEET_S,
    FLEETS,
    GROWTH,
    MINUTE_S,
    PEOPLE_A,
    PEOPLE_B,
    SPRAYING,
    STUFFING,
    TAKEOVER,
    TEN_MINUTES_S,
    TOO_MANY_FAILURES,
)
from .layout import Attempt
from .pairs import fingerprint
from .row import longest, theta0_of, threshold_of

U64 = np.uint64


@kernel
def _rank(reason: int) -> int:
    """1 for what a broken client may do too, 2 for an attack on one account, 3 on many or by many."""
    if reason >= BROKEN:
        return 1
    return 2 if reason == CRACKING else 3


@kernel
def worth_telling(row: Any, reason: int, attempt: Attempt, fleets: npt.NDArray[np.void], refresh_s: float) -> bool:
    """The first finding, a graver one, half as many failures again, or five minutes later."""
    t = attempt.t
    if reason == TAKEOVER:
        if row.taken_told > 0.0 and row.taken < GROWTH * row.taken_told and t - row.taken_at < refresh_s:
            return False
        row.taken_told = row.taken
        row.taken_at = t
        return True
    rank = _rank(reason)
    if reason == BROKEN and (row.told_rank == 0 or t - row.told_at >= DAY_S) and _is_of_fleet(fleets, attempt):
        return False
    if rank <= row.told_rank and row.fails < GROWTH * row.told_n and t - row.told_at < refresh_s:
        return False
    row.told_rank = max(rank, row.told_rank) if t - row.told_at < DAY_S else rank
    row.told_at = max(t, row.told_at)
    row.told_n = row.fails
    return True


@kernel
def _is_of_fleet(fleets: npt.NDArray[np.void], attempt: Attempt) -> bool:
    """Whether another client of the same program and project was told of: their tokens ended for one reason."""
    key = attempt.fleet
    if key == U64(0):
        return False
    fleet = fleets[int(key & U64(FLEETS - 1))]
    known = fleet.key == key and attempt.t - fleet.t < FLEET_S
    fleet.t = max(fleet.t, attempt.t) if known else attempt.t
    fleet.key = key
    return bool(known)


@kernel
def write(hit: Any, reason: int, nats: float, row: Any, site: Any, common: Any, attempt: Attempt) -> None:
    """Fill one finding. What ``detail`` holds is in ``Reason.columns``."""
    t = attempt.t
    hit.row, hit.scope, hit.reason, hit.nats = attempt.i, attempt.scope, reason, nats
    hit.threshold = 0.0
    if reason in (CRACKING, BROKEN):
        hit.threshold = site.threshold
    elif reason < BROKEN:
        hit.threshold = threshold_of(row, site)
    hit.since = row.since
    hit.detail[:] = 0.0
    if reason in (STUFFING, SPRAYING, DISTRIBUTED):
        hit.observed, hit.expected = row.bad_new, (1.0 - site.theta0) * (row.bad_new + row.ok_new)
        hit.detail[0], hit.detail[1], hit.detail[2] = row.bad_new, row.tries, row.ok_new
        hit.detail[3], hit.detail[4], hit.detail[5] = row.gain, row.credit, theta0_of(row, site.theta0)
    elif reason in (CRACKING, BROKEN):
        slot = _slot_of(row, fingerprint(attempt.pair)) if reason == BROKEN else longest(row)
        hit.since = row.slot_since[slot]
        if reason == CRACKING and row.w > 0.0:  # its other names belong to it
            hit.since = min(hit.since, row.since)
        hit.observed, hit.expected = row.streak[slot], PEOPLE_B / (PEOPLE_A - 1.0)
        hit.detail[0], hit.detail[1] = row.streak[slot], max(1.0, row.ok_day)
    elif reason == TAKEOVER:
        hit.observed, hit.expected = row.taken, 0.0
        hit.detail[0], hit.detail[1], hit.detail[2] = row.taken, row.bad_new, row.fails
    elif reason == AT_ONCE:
        slot = _slot_of(row, fingerprint(attempt.pair))
        hit.since = min(row.slot_since[slot], row.since) if row.w > 0.0 else row.slot_since[slot]
        hit.observed, hit.expected = row.at_once, common.failures_at_once
    elif reason == TOO_MANY_FAILURES:
        hit.since = t - MINUTE_S
        hit.observed, hit.expected = row.minute, common.failures_per_minute
    else:
        hit.since = t - TEN_MINUTES_S
        hit.observed, hit.expected = row.ten_minutes, common.accounts_per_10min
    hit.window_s = max(0.0, t - hit.since)


@kernel
def _slot_of(row: Any, fingerprint: np.uint32) -> int:
    for j in range(row.slot.shape[0]):
        if row.slot[j] == fingerprint:
            return j
    return 0
