"""The loop over rows: hours of callers on models, and what is unlikely about them.

An hour of a caller on a model is one observation: how much, how repetitive, how many templates, how often what an
extraction needs was asked for, and whether the caller is new. Each gives a p-value, the larger of two: against the
hours of all callers of the model, and against the caller's own past. They are combined by Fisher's method.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from gatewatch.sdk import (
    STRIDE,
    AuthCode,
    Head,
    Role,
    advance,
    ahead,
    ask_row,
    ask_set,
    find_or_admit,
    hold,
    is_far,
    is_held,
    kernel,
    look_ahead,
    mix,
)

from .constants import HOUR_S, STEP
from .hour import clear, close_hour, count_hour, open_hour
from .judge import judge
from .layout import Found, Memory, Params

U64 = np.uint64
_WHO = int(Role.WHO)
_SUCCESS, _FAILURE = int(AuthCode.SUCCESS), int(AuthCode.FAILURE)


@kernel
def scan(calls: Any, asked: npt.NDArray[np.uint8], memory: Memory, p: Params, found: Found) -> int:
    """Score each row of a batch, then learn from it; how many findings there are.

    ``calls`` are its records (:func:`gatewatch.sdk.rows_of`), ``asked`` says which asked for a watched feature, (0,)
    where no row has features. Cost: linear.
    """
    ts, role, status, auth, denied = calls.ts, calls.role, calls.status, calls.auth, calls.denied
    blocked, principal, model, endpoint = calls.blocked_by_us, calls.k_principal, calls.k_model, calls.k_endpoint
    shape, body, size_in, tokens_in = calls.k_shape, calls.shape_body_size, calls.bytes_in, calls.tokens_in
    size_out, tokens_out, has_features = calls.bytes_out, calls.tokens_out, asked.size
    pairs, pair_rows, callers, caller_rows = memory.pairs, memory.pair_rows, memory.callers, memory.caller_rows
    common, values = memory.common[0], memory.values
    least = min(p.least_calls, p.limit)
    n = 0
    for i in range(ts.shape[0]):
        if i % STRIDE == 0:
            look_ahead(callers, caller_rows, principal, i, at_once=False)
            _ask_pairs(pairs, pair_rows, principal, model, endpoint, i)
        t, who = ts[i], principal[i]
        target = _either(model[i], endpoint[i])
        if who == U64(0) or target == U64(0) or role[i] & _WHO == 0 or not math.isfinite(t):
            continue
        if not _was_served(status[i], auth[i], denied[i], blocked[i]):
            continue
        _advance(common, t, p)
        known = status[i] != -1 or auth[i] == _SUCCESS
        at, new = find_or_admit(callers, who, t, known, authenticated_only=False, at_once=False)
        here, fresh = find_or_admit(pairs, mix(who, target), t, known, authenticated_only=False, at_once=False)
        if at < 0 or here < 0:
            continue
        caller, pair, hour = caller_rows[at], pair_rows[here], math.floor(t / HOUR_S)
        _meet(caller, pair, new, fresh, hour, t)
        if hour < pair.hour:
            continue  # its hour is closed: to count it in another would make a burst of a backlog
        if hour > pair.hour:
            told = pair.told_hour == pair.hour
            hold(callers, at, told and is_held(callers, at))
            hold(pairs, here, told and is_held(pairs, here))
            newcomer = _is_newcomer(caller.first, pair.began, common.began, p)
            close_hour(pair, target, who, newcomer, pair.began < caller.released_until, memory, values)
            open_hour(pair, hour, t)
        size = _size(body[i], size_in[i], tokens_in[i])
        count_hour(pair, shape[i], size, _got(tokens_out[i], size_out[i]))
        pair.asked += asked[i] if has_features > 0 else 0
        common.behaviour += has_features > 0 or size >= 0.0 or shape[i] != U64(0)
        if pair.calls < max(least, pair.next):
            continue
        pair.next = _next(pair.calls, p)
        newcomer = _is_newcomer(caller.first, t, common.began, p)
        if judge(pair, target, newcomer, t, memory, values, p, found, n):
            found.row[n] = i
            n += 1
            caller.told_at = max(caller.told_at, t)
            hold(callers, at, held=True)
            hold(pairs, here, held=True)
    return n


@kernel
def _ask_pairs(pairs: Head, rows: Any, principal: Any, model: Any, endpoint: Any, i: int) -> None:
    """As :func:`look_ahead`, for callers on models."""
    if is_far(pairs, rows):
        n = principal.shape[0]
        for j in range(ahead(i, 2), min(n, i + 3 * STRIDE)):
            ask_set(pairs, mix(principal[j], _either(model[j], endpoint[j])))
        for j in range(ahead(i, 1), min(n, i + 2 * STRIDE)):
            ask_row(pairs, rows, mix(principal[j], _either(model[j], endpoint[j])), at_once=False)


@kernel
def _meet(caller: Any, pair: Any, new: bool, fresh: bool, hour: float, t: float) -> None:
    """Begin the rows that are new."""
    if new:
        caller.first, caller.told_at, caller.released_until = t, -np.inf, -np.inf
    if fresh:
        clear(pair, hour, t)


@kernel
def _advance(common: Any, t: float, p: Params) -> None:
    """One more row counts, at ``t``."""
    if common.rows == 0:
        common.began = t
    common.rows += 1
    common.now = max(common.now, t)
    advance(common.calibrator, common.now, p.alarms_per_day, HOUR_S)


@kernel
def _either(model: np.uint64, endpoint: np.uint64) -> np.uint64:
    """What is asked: the model, else the route."""
    return model if model != U64(0) else endpoint


@kernel
def _was_served(status: int, auth: int, denied: int, blocked: int) -> bool:
    """Whether the caller got an answer; a gateway that logs no status is taken to log what it served."""
    if denied == 1 or blocked == 1:
        return False
    return 200 <= status < 400 or (status == -1 and auth != _FAILURE)


@kernel
def _next(calls: float, p: Params) -> float:
    """At how many requests the hour is judged again: at a tenth more, or at the limit."""
    later = math.ceil(STEP * calls)
    return p.limit if calls < p.limit < later else later


@kernel
def _is_newcomer(first: float, t: float, began: float, p: Params) -> bool:
    """First met within the last days, but not at the start, when everybody is met for the first time."""
    return t - first < p.newcomer_s and first >= began + p.warm_s


@kernel
def _size(body_size: float, bytes_in: float, tokens_in: float) -> float:
    """Size of the request: of the body where the gateway tells it, else bytes, else tokens; -1 where none is known."""
    if 0.0 <= body_size < 1e15:
        return body_size
    if 0.0 <= bytes_in < 1e15:
        return bytes_in
    return tokens_in if 0.0 <= tokens_in < 1e15 else -1.0


@kernel
def _got(tokens_out: float, bytes_out: float) -> float:
    """What the caller took away: tokens, else bytes at four a token (the usual figure for English text)."""
    if 0.0 <= tokens_out < 1e12:
        return tokens_out
    return 0.25 * bytes_out if 0.0 <= bytes_out < 1e12 else 0.0
