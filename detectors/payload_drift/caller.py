"""One caller: its own structures and sizes, and the evidence against it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gatewatch.sdk import kernel

from . import changes
from .constants import BET, LEAST_SIZES, MOST, POWER, PRIOR_SIZES, PRIOR_VARIANCE
from .layout import OWN, Body, Params
from .sizes import learn, surprise

U64, U32 = np.uint64, np.uint32
ORDINARY = -math.log(1.0 - BET + BET * POWER)  # nats of evidence that an ordinary body takes away


@kernel
def fingerprint(key: np.uint64) -> np.uint32:
    """32 bits of a key, never 0: a free slot is 0."""
    return U32((key >> U64(32)) | U64(1))


@kernel
def clear(row: Any, t: float) -> None:
    """A new caller's row, which may have been another's."""
    row.t = row.first = row.since = t
    row.told_at = row.released_until = -np.inf
    row.known = U64(0)
    row.n = row.novel = row.mean = row.var = 0.0
    row.shape[:] = U32(0)
    row.count[:] = 0.0
    row.limit_at[:] = 0.0
    changes.forget(row)
    end_excursion(row)


@kernel
def end_excursion(row: Any) -> None:
    """Nothing is held against it."""
    row.structure = row.characters = row.size = row.credit = 0.0
    row.odd = row.told = 0.0
    row.rank = 0


@kernel
def evidence(row: Any) -> float:
    """The statistic of the sequential test, nats."""
    return float(row.structure + row.characters + row.size - row.credit)


@kernel
def age(row: Any, t: float, p: Params) -> float:
    """Bring the row to ``t``; returns what a body at ``t`` weighs in it: less than 1 if it comes late."""
    gap = t - row.t
    if gap <= 0.0:
        return 1.0 if gap == 0.0 else float(math.exp(gap / p.decay_s))
    row.t = t
    if evidence(row) > 0.0:
        keep = math.exp(-gap / p.decay_s)
        row.structure *= keep
        row.characters *= keep
        row.size *= keep
        row.credit *= keep
    return 1.0


@kernel
def own_slot(row: Any, shape: np.uint64) -> int:
    """Where the caller's row keeps a structure, or -1."""
    name = fingerprint(shape)
    for j in range(OWN):
        if row.shape[j] == name:
            return j
    return -1


@kernel
def size_surprise(row: Any, e: Any, body: Body, own: int, template: int, p: Params) -> tuple[float, float]:
    """Nats of a size, and the logarithm of the one expected.

    Expected of this caller in this structure, else of this caller or the endpoint, whichever expects it more, else of
    the structure, else of the endpoint.

    The caller's own mean and variance, with the endpoint's as a prior that is worth a few bodies.
    """
    if not math.isfinite(body.size):
        return 0.0, 0.0
    of_template = template >= 0 and e.known[template] == 1 and e.count[template] >= LEAST_SIZES
    if own >= 0 and (row.count[own] >= LEAST_SIZES or of_template):
        c = row.count[own]
        mean, var = row.means[own], PRIOR_VARIANCE
        if of_template:
            mean, var = e.means[template], e.vars[template]
        mean = (c * row.means[own] + PRIOR_SIZES * mean) / (c + PRIOR_SIZES)
        var = (c * row.vars[own] + PRIOR_SIZES * var) / (c + PRIOR_SIZES)
    elif own < 0 and row.n >= LEAST_SIZES:
        mean = row.mean
        var = _spread(row.n, row.var)
        # its other structures may be of other endpoints: large where embedded, small where classified
        other = _spread(e.n, e.var)
        if e.n >= p.endpoint_rows and surprise(body.size, e.mean, other) < surprise(body.size, mean, var):
            mean, var = e.mean, other
    elif of_template:
        mean, var = e.means[template], e.vars[template]
    elif own < 0 and e.n >= p.endpoint_rows:
        mean, var = e.mean, _spread(e.n, e.var)
    else:
        return 0.0, 0.0
    return surprise(body.size, mean, var), mean


@kernel
def _spread(n: float, var: float) -> float:
    """A variance, with the prior's few bodies."""
    return (n * var + PRIOR_SIZES * PRIOR_VARIANCE) / (n + PRIOR_SIZES)


@kernel
def teach(row: Any, body: Body, own: int) -> None:
    """Learn from one body."""
    if math.isfinite(body.size):
        row.mean, row.var = learn(row.n, row.mean, row.var, body.size)
    row.n += 1.0
    row.known |= body.kinds
    if body.shape == U64(0):
        return
    if own < 0:
        row.novel += 1.0
        own = 0
        for j in range(OWN):
            if row.count[j] < row.count[own]:
                own = j
        row.shape[own] = fingerprint(body.shape)
        row.count[own] = 0.0
        row.means[own] = row.vars[own] = 0.0
    if math.isfinite(body.size):
        row.means[own], row.vars[own] = learn(row.count[own], row.means[own], row.vars[own], body.size)
    row.count[own] += 1.0


@kernel
def step(row: Any, structure: float, characters: float, size: float, t: float, weight: float, p: Params) -> None:
    """One body's step of the sequential test, given what it says that was not counted before, nats.

    The mean of its e-value is at most 1 for ordinary bodies however rare they are, so the evidence reaches the
    threshold at most once in 1 / alpha bodies (Vovk and Wang 2021; Lorden 1971). It never falls below 0: good behaviour
    buys nothing.
    """
    w = evidence(row)
    nats = structure + characters + size
    up = math.log(1.0 - BET + BET * POWER * math.exp((1.0 - POWER) * min(nats, 200.0)))
    if w + weight * up <= 0.0:
        if w > 0.0:
            end_excursion(row)
        return
    if w <= 0.0:
        row.since = t
    if w >= MOST * p.threshold and up > 0.0:
        return
    row.credit += weight * ORDINARY
    if nats <= 0.0:
        return
    each = weight * (up + ORDINARY) / nats
    row.structure += each * structure
    row.characters += each * characters
    row.size += each * size
    if up > 0.0:
        row.odd += 1.0
