"""The loop over the rows of a batch: time, counts, what they say about the key.

Time goes on row by row. A late row weighs what it would have weighed in time: its event has decayed already, and its
bucket is closed already, so a backlog is never a burst.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from gatewatch.sdk import STRIDE, AuthCode, Head, Role, find_or_admit, hold, is_held, kernel, look_ahead, used_rows

from .layout import DAY_HOURS, DAY_S, MEASURES, REQUESTS, SCALES, TAU_S
from .learn import EXCURSION_S, close_bucket, in_excursion, mean_call, own_rate
from .pool import add_call, advance_pool, hour_of_week, reach
from .rhythm import rhythm
from .score import score, tell
from .spread import SLOT_S

VALUE_MAX = 1e9  # tokens or dollars of one call; what is larger is a unit error, and counts as this much
WHO, WHERE = int(Role.WHO), int(Role.WHERE)
UNKNOWN, SUCCESS = int(AuthCode.UNKNOWN), int(AuthCode.SUCCESS)

AUTHENTICATED_ONLY, ANYBODY = True, False  # who gets a row
Records = npt.NDArray[np.void]


@kernel
def process(
    rows: Any,
    principals: Head,
    principal_rows: Records,
    ips: Head,
    ip_rows: Records,
    pools: Records,
    params: Records,
    found: Records,
) -> int:
    """Score each row for its principal (WHO rows) and its address (WHERE rows), then count it.

    ``rows`` are the batch's records (:func:`gatewatch.sdk.rows_of`); ``found`` has room for two findings a row. Returns
    how many there are. Cost: linear in rows.
    """
    ts, role, blocked, auth, status = rows.ts, rows.role, rows.blocked_by_us, rows.auth, rows.status
    principal, ip = rows.k_principal, rows.k_ip
    tokens_in, tokens_out, cost = rows.tokens_in, rows.tokens_out, rows.cost_usd
    p, who_pool, where_pool = params[0], pools[0], pools[1]
    n = 0
    for i in range(ts.shape[0]):
        if i % STRIDE == 0:
            look_ahead(principals, principal_rows, principal, i, at_once=False)
            look_ahead(ips, ip_rows, ip, i, at_once=False)
        t = ts[i]
        if blocked[i] == 1 or not math.isfinite(t):
            continue  # ours: it teaches nothing
        who, where = principal[i], ip[i]
        success = who != 0 and _served(auth[i], status[i])
        values = (1.0, _total(tokens_in[i], tokens_out[i]), _clean(cost[i]))  # in the order of measures
        if role[i] & WHO and who != 0:
            advance_pool(who_pool, t, used_rows(principals), p)
            row, new = find_or_admit(principals, who, t, success, AUTHENTICATED_ONLY, _is_over(values, p))
            if row >= 0:
                told = _visit(principal_rows[row], new, t, values, who_pool, p, found[n])
                found[n].row, found[n].scope = i, 0
                if told or is_held(principals, row):
                    hold(principals, row, told or not _calm(principal_rows[row]))
                n += 1 if told else 0
        if role[i] & WHERE and where != 0:
            advance_pool(where_pool, t, used_rows(ips), p)
            # Tokens and cost of an authenticated call are its principal's, wherever it comes from: a person at a new
            # address is no news. Requests count: many keys may be tried from one address.
            counted = values if who == 0 else (1.0, -1.0, -1.0)
            row, new = find_or_admit(ips, where, t, success, ANYBODY, _is_over(counted, p))
            if row >= 0:
                told = _visit(ip_rows[row], new, t, counted, where_pool, p, found[n])
                found[n].row, found[n].scope = i, 1
                if told or is_held(ips, row):
                    hold(ips, row, told or not _calm(ip_rows[row]))
                n += 1 if told else 0
    return n


@kernel
def _is_over(values: tuple[float, float, float], p: Any) -> bool:
    """Whether one call alone is beyond a limit. Nothing else is said of one call, so a key may wait for its second."""
    return bool(values[0] >= p.limit[0] or values[1] >= p.limit[1] or values[2] >= p.limit[2])


@kernel
def _served(auth: int, status: int) -> bool:
    return auth == SUCCESS or (auth == UNKNOWN and status < 400)


@kernel
def _clean(value: float) -> float:
    """A size of a call: -1 where absent or without sense."""
    return min(value, VALUE_MAX) if value >= 0.0 else -1.0


@kernel
def _total(a: float, b: float) -> float:
    a, b = _clean(a), _clean(b)
    return max(a, b) if min(a, b) < 0.0 else a + b


@kernel
def _visit(key: Any, new: bool, t: float, values: tuple[float, float, float], pool: Any, p: Any, best: Any) -> bool:
    """One row for one key: whether ``best`` is now a finding."""
    closed = False
    if new:
        _clear(key, pool, t)
    elif t > key.last:
        closed = _advance(key, pool, t, p)
    elif t < key.born:
        _live_longer(key, pool, t, p)
    _count(key, pool, t, values, p)
    season = pool.season[hour_of_week(key.last)] * key.rhythm
    best.ratio = 0.0
    for m in range(MEASURES):
        if values[m] >= 0.0 or closed:
            score(key, pool, m, season, closed, p, best)
    if best.ratio < 1.0:
        return False
    tell(key, pool, p, best)
    return True


@kernel
def _clear(key: Any, pool: Any, t: float) -> None:
    """A new key's row, which may have been another's."""
    if key.known_at > 0:
        pool.known_keys -= 1.0
    key.last = key.born = t
    key.e_day = key.e_base = key.e_anchor = 0.0
    key.known_at = key.released_until = 0
    key.slot = math.floor(t / SLOT_S)
    key.hour_x = 0.0
    key.hour_at = key.hour_first = 0
    key.rhythm = key.starts = key.clump = 1.0
    for k in range(2):
        key.deviation[k] = key.due[k] = key.late_deviation[k] = key.late_due[k] = 0.0
    for h in range(DAY_HOURS):
        key.hourly[h] = 0.0
    for j in range(SCALES):
        key.exposure[j] = key.peak[j] = key.habit[j, 0] = key.habit[j, 1] = 0.0
        key.peak_at[j] = key.habit_at[j] = key.level[j] = 0
    for m in range(MEASURES):
        for j in range(SCALES):
            key.count[m, j] = 0.0
        key.bucket[m] = key.left_over[m] = key.a_day[m] = key.a_base[m] = key.a_anchor[m] = 0.0
        key.cusum[m] = key.told_nats[m] = key.limit_nats[m] = 0.0
        key.cusum_since[m] = key.frozen_since[m] = 0
        key.told_at[m] = key.told_since[m] = key.limit_at[m] = key.limit_since[m] = 0


@kernel
def _advance(key: Any, pool: Any, t: float, p: Any) -> bool:
    """Bring a row's counts and exposures to ``t``, a later time; whether a bucket was closed on the way."""
    closes = bool(math.floor(t / p.bucket_s) > math.floor(key.last / p.bucket_s))
    if closes:
        close_bucket(key, pool, t, p)
        key.rhythm = rhythm(key, pool, t, own_rate(key, pool, REQUESTS, 1.0), p.base_s)
    season = pool.season[hour_of_week(t)] * key.rhythm
    keep = math.exp((key.last - t) / TAU_S[SCALES - 1])
    for j in range(SCALES - 1, -1, -1):
        key.exposure[j] = key.exposure[j] * keep + season * TAU_S[j] * (1.0 - keep)
        for m in range(MEASURES):
            key.count[m, j] *= keep
        keep = shorter(keep, j)
    key.last = t
    return closes


@kernel
def shorter(keep: float, j: int) -> float:
    """exp(-dt / TAU_S[j - 1]) from exp(-dt / TAU_S[j]): the decay times are 6, 5 and 12 apart, and powers are cheap."""
    squared = keep * keep
    if j == 2:  # 300 s to 60 s
        return squared * squared * keep
    sixth = squared * squared * squared
    return sixth * sixth if j == 3 else sixth


@kernel
def _live_longer(key: Any, pool: Any, t: float, p: Any) -> None:
    """A late row from before the key was first seen: it has been alive since then."""
    season = pool.season[hour_of_week(t)]
    since, until = key.last - t, key.last - key.born
    for j in range(SCALES):
        key.exposure[j] += season * key.rhythm * _lived(since, until, TAU_S[j])
    key.e_day += season * _lived(since, until, DAY_S)
    key.e_base += season * _lived(since, until, p.base_s)
    key.e_anchor += season * _lived(since, until, p.anchor_s)
    key.born = t


@kernel
def _lived(since: float, until: float, tau: float) -> float:
    """Decayed exposure between two ages, s."""
    return tau * (math.exp(-until / tau) - math.exp(-since / tau))


@kernel
def _count(key: Any, pool: Any, t: float, values: tuple[float, float, float], p: Any) -> None:
    """Add a row's values, each with the weight that its age leaves."""
    late = key.last - t
    teaches = key.last - key.born < p.warm_days * DAY_S
    current = late <= 0.0 or math.floor(t / p.bucket_s) >= math.floor(key.last / p.bucket_s)
    for m in range(MEASURES):
        value = values[m]
        if value < 0.0:
            continue
        if m != REQUESTS and not in_excursion(key, m, key.last):
            add_call(pool, m, value, mean_call(key, pool, m))
        for j in range(SCALES):
            key.count[m, j] += value if late <= 0.0 else value * math.exp(-late / TAU_S[j])
            if m == REQUESTS and teaches:
                reach(pool, key, j)
        if current:
            key.bucket[m] += value
        elif not in_excursion(key, m, key.last):
            key.a_day[m] += value * math.exp(-late / DAY_S)
            key.a_base[m] += value * math.exp(-late / p.base_s)
            key.a_anchor[m] += value * math.exp(-late / p.anchor_s)


@kernel
def _calm(key: Any) -> bool:
    """No finding about the key, of whatever measure, within an excursion's length."""
    for m in range(MEASURES):
        told = max(key.told_at[m], key.limit_at[m])
        if told > 0 and key.last - told < EXCURSION_S:
            return False
    return True
