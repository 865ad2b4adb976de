"""One caller: its own structures and sizes, and the evidence against it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gatewatch.sdk import kernel

from .constants import (
    LEAST_SIZES,
    LN2,
    MOST,
    PRIOR_SIZES,
    PRIOR_VARIANCE,
)
from .layout import OWN, Body, Params, Score
from .sizes import learn, surprise

U64, U32 = np.uint64, np.uint32


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
    end_excursion(row)


@kernel
def end_excursion(row: Any) -> None:
    """Nothing is held against it."""
    row.structure = row.characters = row.size = row.credit = 0.0
    row.odd = row.told = 0.0
    row.rank = 0
    row.counted = U64(0)
    row.counts[:] = U32(0)
    row.next = 0


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
def size_surprise(row: Any, e: Any, body: Body, own: int, template: int) -> tuple[float, float]:
    """Nats of a size, and the logarithm of the one expected.

    Expected of this caller in this structure, else of this caller, else of the structure.

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
        var = (row.n * row.var + PRIOR_SIZES * PRIOR_VARIANCE) / (row.n + PRIOR_SIZES)
    elif of_template:
        mean, var = e.means[template], e.vars[template]
    else:
        return 0.0, 0.0
    return surprise(body.size, mean, var), mean


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
def first_contacts(row: Any, score: Score, body: Body) -> tuple[float, float]:
    """Nats of structure and of characters that the excursion has not counted yet: who repeats itself adds nothing."""
    structure, characters = score.structure, score.characters
    if structure > 0.0:
        name = fingerprint(body.shape)
        for j in range(OWN):
            if row.counts[j] == name:
                structure = 0.0
        if structure > 0.0:
            row.counts[row.next] = name
            row.next = (row.next + 1) % OWN
    if characters > 0.0:
        kinds = body.kinds & ~row.known
        if kinds & ~row.counted == U64(0):
            characters = 0.0
        row.counted |= kinds
    return structure, characters


@kernel
def step(row: Any, score: Score, body: Body, weight: float, p: Params) -> None:
    """One body's step of the sequential test: the logarithm of the e-value that half the root of 1 / p is.

    Its mean is at most 1 for ordinary bodies however rare they are, so the evidence reaches the threshold at most once
    in 1 / alpha bodies (Vovk and Wang 2021; Lorden 1971). It never falls below 0: good behaviour buys nothing.
    """
    w = evidence(row)
    structure, characters = first_contacts(row, score, body)
    up = 0.5 * (structure + characters + score.size) - LN2
    if w + weight * up <= 0.0:
        if w > 0.0:
            end_excursion(row)
        return
    if w <= 0.0:
        row.since = body.t
    if w >= MOST * p.threshold and up > 0.0:
        return
    row.structure += 0.5 * weight * structure
    row.characters += 0.5 * weight * characters
    row.size += 0.5 * weight * score.size
    row.credit += weight * LN2
    if up > 0.0:
        row.odd += 1.0
