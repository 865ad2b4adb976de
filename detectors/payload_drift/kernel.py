"""The loop over bodies: limits first, then what is learned: structure, kinds of characters, size, one after the other.

A body is scored before it teaches, and what surprises teaches nothing (algorithms 0: that matters more than the model).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from gatewatch.sdk import AuthCode, Role, find_or_admit, hold, kernel

from . import caller, changes, profile
from .constants import (
    ADMIT_SHARE,
    AGAIN_S,
    ARRAY,
    BODY_BYTES,
    BUSY,
    CELL,
    CHANGE,
    DEPTH,
    DRIFT,
    GROWTH,
    HOUR_S,
    KEYS,
    LEAST_NEW_NATS,
    LIMITS,
    NOTHING,
    STRING,
)
from .facts import read
from .layout import Body, Facts, Memory, Params, Score
from .telling import write, write_limit

U64 = np.uint64
_SUCCESS, _UNKNOWN = int(AuthCode.SUCCESS), int(AuthCode.UNKNOWN)
_SHOW = int(Role.SHOW)
_MOST_KINDS = 9007199254740992.0  # 2 ** 53


@kernel
def scan(bodies: Any, facts: Facts, wanted: int, memory: Memory, p: Params, found: npt.NDArray[np.void]) -> int:
    """Score each row of a batch for one scope, then learn from it; how many findings are in ``found``.

    ``bodies`` are its records (:func:`gatewatch.sdk.rows_of`), ``wanted`` is the role of those that
    count. Cost: linear.
    """
    ts, role, blocked, principal = bodies.ts, bodies.role, bodies.blocked_by_us, bodies.k_principal
    key = bodies.k_ip if p.anonymous else principal
    status, auth, endpoint, path = bodies.status, bodies.auth, bodies.k_endpoint, bodies.k_path
    shape, bytes_in, body_size = bodies.k_shape, bodies.bytes_in, bodies.shape_body_size
    depth, keys, kinds = bodies.shape_depth, bodies.shape_keys, bodies.shape_kinds
    array, string = bodies.shape_longest_array, bodies.shape_longest_string
    heads, rows, common, limits = memory.callers, memory.rows, memory.common[0], memory.limits
    endpoints, profiles, scratch = memory.endpoints, memory.profiles, memory.scratch
    starts, offsets, data = facts.starts, facts.offsets, facts.data
    seen = wanted if p.anonymous else wanted | _SHOW
    n = 0
    for i in range(ts.shape[0]):
        t = ts[i]
        elsewhere = p.anonymous and principal[i] != U64(0)  # it has a row of its own, as a principal
        if role[i] & seen == 0 or elsewhere or key[i] == U64(0) or blocked[i] == 1 or not math.isfinite(t):
            continue
        if role[i] & wanted == 0:
            _shown(bodies[i], i, facts, memory, p, found[n:])
            continue
        common.rows += 1
        common.now = max(common.now, t)
        size = body_size[i] if math.isfinite(body_size[i]) else bytes_in[i]
        some = shape[i] != U64(0) or _is_kinds(kinds[i])
        over = (
            size > limits[BODY_BYTES] or depth[i] > limits[DEPTH] or keys[i] > limits[KEYS]
            or array[i] > limits[ARRAY] or string[i] > limits[STRING]
        )  # fmt: skip
        if not (some or over):
            continue
        common.bodies += 1
        served = auth[i] == _SUCCESS or (auth[i] == _UNKNOWN and status[i] < 400)
        at, new = find_or_admit(heads, key[i], t, served and not p.anonymous, not p.anonymous)
        if at < 0:
            continue
        row = rows[at]
        if new:
            caller.clear(row, t)
        weight = caller.age(row, t, p)
        before = n
        if over:
            n = _limits(i, t, (size, depth[i], keys[i], array[i], string[i]), row, limits, p, found, n)
        if some:
            teaches = status[i] < 400 and (served or p.anonymous)
            body = _body(i, t, key[i], shape[i], size, kinds[i], teaches)
            where = _first(endpoint[i], path[i], p.salt)
            look = (row, weight, n == before, True)
            n = _learned(body, where, look, endpoints, profiles, starts, offsets, data, scratch, p, found, n)
        told = row.rank == 1 and row.t - row.told_at < p.refresh_s
        hold(heads, at, told or caller.evidence(row) >= 0.5 * p.threshold)
    return n


@kernel
def _shown(b: Any, i: int, facts: Facts, memory: Memory, p: Params, room: npt.NDArray[np.void]) -> None:
    """A body of a caller of another partition: it teaches as one of here would, and nothing is told of it.

    The caller has a row among the guests, so who is used to a structure or a size does not surprise by it. Endpoints
    that nobody here calls push no others out.
    """
    served = b.status < 400 and b.auth in (_SUCCESS, _UNKNOWN)
    at, new = find_or_admit(memory.guests, b.k_principal, b.ts, served, authenticated_only=True)
    if at < 0:
        return
    row = memory.guest_rows[at]
    if new:
        caller.clear(row, b.ts)
    weight = caller.age(row, b.ts, p)
    size = b.shape_body_size if math.isfinite(b.shape_body_size) else b.bytes_in
    body = _body(i, b.ts, b.k_principal, b.k_shape, size, b.shape_kinds, served)
    _learned(
        body, _first(b.k_endpoint, b.k_path, p.salt), (row, weight, False, False), memory.endpoints, memory.profiles,
        facts.starts, facts.offsets, facts.data, memory.scratch, p, room, 0,
    )  # fmt: skip


@kernel
def _first(endpoint: np.uint64, path: np.uint64, other: np.uint64) -> np.uint64:
    """What stands for the endpoint: its route, else the path, else one for all."""
    if endpoint != U64(0):
        return endpoint
    return path if path != U64(0) else other


@kernel
def _body(i: int, t: float, key: np.uint64, shape: np.uint64, size: float, kinds: float, teaches: bool) -> Body:
    """One row's body, from its columns."""
    ls = math.log(size) if math.isfinite(size) and size >= 1.0 else np.nan
    has_kinds = _is_kinds(kinds)
    bits = U64(np.int64(kinds)) if has_kinds else U64(0)
    return Body(i, t, caller.fingerprint(key), shape, ls, bits, has_kinds, teaches)


@kernel
def _learned(
    body: Body,
    where: np.uint64,
    look: tuple[Any, float, bool, bool],
    endpoints: Any,
    profiles: Any,
    starts: Any,
    offsets: Any,
    data: Any,
    scratch: Any,
    p: Params,
    found: npt.NDArray[np.void],
    n: int,
) -> int:
    """One body against what its endpoint and its caller are used to: the new number of findings.

    ``look``: the caller's row, what the body weighs in it, whether it may be told of, whether it is of this partition.
    """
    row, weight, may_tell, ours = look
    success = body.teaches and ours and not p.anonymous
    at, new = find_or_admit(endpoints, where, body.t, success, authenticated_only=False, at_once=ours)
    if at < 0:
        return n
    e = profiles[at]
    if new:
        profile.clear(e, body.t)
    slot = profile.slot_of(e, body.shape) if body.shape != U64(0) else -1
    n_facts = 0
    if body.shape != U64(0) and (slot < 0 or e.known[slot] == 0):
        n_facts = read(starts, offsets, data, body.i, p.salt, scratch)
    score = _score(body, row, e, slot, n_facts, scratch, ours, p)
    return _visit(body, score, row, e, n_facts, scratch, weight, may_tell, p, found, n)


@kernel
def _is_kinds(value: float) -> bool:
    return bool(0.0 <= value < _MOST_KINDS)


@kernel
def _limits(
    i: int,
    t: float,
    values: tuple[float, float, float, float, float],
    row: Any,
    limits: Any,
    p: Params,
    found: npt.NDArray[np.void],
    n: int,
) -> int:
    """The limit that is most exceeded, if it is news."""
    worst, times = NOTHING, 1.0
    for j in range(LIMITS):
        if math.isfinite(values[j]) and values[j] > limits[j] * times:
            worst, times = j, values[j] / limits[j]
    if worst == NOTHING:
        return n
    quiet = t - row.told_at < p.refresh_s and times < GROWTH * row.limit_at[worst]
    if quiet:
        return n
    row.limit_at[worst] = min(times, 1e30)
    row.told_at = max(t, row.told_at)
    row.rank = 1
    write_limit(found[n], i, t, worst, values[worst], limits[worst])
    return n + 1


@kernel
def _visit(
    body: Body,
    score: Score,
    row: Any,
    e: Any,
    n_facts: int,
    scratch: Any,
    weight: float,
    may_tell: bool,
    p: Params,
    found: npt.NDArray[np.void],
    n: int,
) -> int:
    """What comes of a body's score, for its caller and for its endpoint: the new number of findings."""
    nats = score.structure + score.characters + score.size
    # A structure rarer than one in all bodies so far may be an attack's, however few they are; by repeating itself
    # below the gate it would make itself usual. Kinds of characters come one by one in benign values: they may teach.
    surprises = nats >= p.gate or score.structure >= max(LEAST_NEW_NATS, math.log(e.n + 1.0))
    if surprises:
        changes.note(row, body.t)
    news = _news(body, score, row, e, scratch)
    version = score.structure > 0.0 and changes.is_version(row, body, score, p)
    if not version:
        caller.step(row, news[0], news[1], score.size, body.t, weight, p)
    if nats > 0.0 and may_tell:
        if version:
            n = _tell_version(body, row, e, score, news, p, found, n)
        else:
            n = _tell(body, row, e, score, news, p, found, n)
    if surprises:
        row.far = max(row.far, score.size)
    is_open = profile.note_surprise(e, surprises, body.caller)
    if not body.teaches:
        return n
    if not surprises or is_open:
        far = score.far if e.n >= p.endpoint_rows else -1  # all are far where there is nothing yet
        share = ADMIT_SHARE if p.anonymous else 0.0
        profile.teach(e, body, score.template, far, scratch, n_facts, share)
    elif not p.anonymous and row.n >= p.caller_rows and body.shape != U64(0):
        profile.vote(e, body, score.template, score.far, scratch, n_facts)
    if not surprises or is_open or changes.may_teach(row, body.t) or body.t < row.released_until:
        caller.teach(row, body, score.own)
    return n


@kernel
def _news(body: Body, score: Score, row: Any, e: Any, scratch: Any) -> tuple[float, float, float]:
    """Nats of structure, characters and size that the caller has not shown before: who repeats itself adds nothing."""
    structure, characters, size = score.structure, score.characters, score.size
    if structure > 0.0:
        if not changes.new_structure(row, caller.fingerprint(body.shape), scratch, score.new_fields):
            structure = 0.0
        elif score.template < 0 or e.known[score.template] == 0:
            row.changes += 1
    if characters > 0.0 and not changes.new_kinds(row, body.kinds & ~row.known):
        characters = 0.0
    if size > 0.0 and not changes.new_size(row, size):
        size = 0.0
    return structure, characters, size


@kernel
def _score(body: Body, row: Any, e: Any, template: int, n_facts: int, scratch: Any, ours: bool, p: Params) -> Score:
    """What the body says, given endpoint and caller as they were before it."""
    structure = characters = nearest = contains = 0.0
    new_fields, far, kind, other = 0, 0, -1, -1
    own = caller.own_slot(row, body.shape) if body.shape != U64(0) else -1
    is_template = template >= 0 and e.known[template] == 1
    if body.shape != U64(0) and not is_template:
        nats, new_fields, nearest, contains, far = profile.unknown_structure(e, template, scratch, n_facts)
        if own < 0 and e.n >= p.endpoint_rows:
            structure = nats
            # A new caller may well have a client of its own: be as sure as callers are many. Of a guest's nothing is
            # told, so it may surprise and teach nothing: else one new key would make its bodies usual everywhere.
            if ours and row.n < p.caller_rows:
                structure = min(structure, 2.0 * (1.0 + row.changes) * math.log(1.0 + profile.callers(e)))
    if body.shape != U64(0) and own < 0 and row.n >= p.caller_rows:
        structure = max(structure, -math.log((row.novel + CELL) / (row.n + 1.0)))
    unusual = body.kinds & ~row.known
    if new_fields > 0 and row.n < p.caller_rows:
        unusual &= ~changes.HARMLESS  # they come with the fields of a client of its own, and say no more than these do
    if unusual != U64(0) and e.content >= p.endpoint_rows:
        characters, kind, other = profile.rare_kinds(e, unusual)
    size, expected = caller.size_surprise(row, e, body, own, template, p)
    return Score(structure, characters, size, template, own, new_fields, nearest, contains, far, kind, other, expected)


@kernel
def _tell(
    body: Body,
    row: Any,
    e: Any,
    score: Score,
    news: tuple[float, float, float],
    p: Params,
    found: npt.NDArray[np.void],
    n: int,
) -> int:
    """A finding where one body, or all of late together, are beyond the threshold, and that is news or goes on."""
    w, new = caller.evidence(row), news[0] + news[1] + news[2]
    most = max(w, score.structure + score.characters + score.size)
    if most < p.threshold:
        return n
    age_s = body.t - row.told_at
    goes_on = p.refresh_s <= age_s < AGAIN_S
    grows = row.rank == 0 or most >= GROWTH * row.told
    is_news = grows or age_s >= p.refresh_s
    if not (is_news if new >= p.threshold else goes_on or (w >= p.threshold and grows)):
        return n
    row.rank = 1
    row.told = most
    row.told_at = max(body.t, row.told_at)
    drift = w > new
    # sizes are against the caller's own, which it must have; what nobody sends, nobody else has to
    own = drift and row.size >= 0.5 * w
    warm = _is_warm(body.t - e.first, e.n, p) and (not own or row.n >= p.caller_rows)
    write(found[n], body, row, e, score, DRIFT if drift else NOTHING, warm, p)
    return n + 1


@kernel
def _tell_version(
    body: Body,
    row: Any,
    e: Any,
    score: Score,
    news: tuple[float, float, float],
    p: Params,
    found: npt.NDArray[np.void],
    n: int,
) -> int:
    """A finding on a new version of a caller's client, once a day."""
    if row.told_change == 1 or news[0] + news[1] + news[2] < p.threshold:
        return n
    row.told_change = 1
    row.told_at = max(body.t, row.told_at)
    write(found[n], body, row, e, score, CHANGE, _is_warm(body.t - e.first, e.n, p), p)
    return n + 1


@kernel
def _is_warm(age_s: float, bodies: float, p: Params) -> bool:
    """Whether an endpoint is known. Structures do not follow the time of day as rates do: many bodies are enough."""
    return age_s >= p.warm_s or (age_s >= HOUR_S and bodies >= BUSY * p.endpoint_rows)
