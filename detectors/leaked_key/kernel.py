"""The loop over rows: is this use of the key from where and how it is used, and if not, how unusual is that?

A place where a key never was goes on *probation*. Its nats are -ln of the chance that a key like this one shows such a
thing on a given day: that it moves so far (its own history of moving, and all keys'), times, for each thing that came
with the move (a new agent, a new model, use beside the owner, ten times the rate), the share of benign moves that have
it. Nothing from a place on probation teaches. If it stays below the threshold the place is known from then on; else it
is accused, and known only when nobody has said anything for a day.

In Freeman's likelihood ratio a value never seen with a key has p(value | key) = P(key shows something new) *
p(value | population), so the value's share of the population cancels and -ln P(new) is what is left.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from gatewatch.sdk import STRIDE, AuthCode, Role, find_or_admit, hold, judged, kernel, look_ahead

from .constants import (
    AGENT,
    ASN,
    BURST,
    CONCURRENT,
    COUNTRY,
    GROWTH,
    HANDOVER_S,
    LEAST_BURST,
    LEAST_SWITCHES,
    MARKS,
    MEMORY_S,
    MODEL,
    NETWORK,
    NEW_PLACE,
    NOTHING,
    PLACES,
    WINDOW_S,
    WITH_AGENT,
    WITH_BURST,
    WITH_CONCURRENT,
    WITH_MODEL,
)
from .layout import Memory, Params, Use
from .population import is_release, note_agent, pass_time
from .row import advance, clear, daily_rate, holds, keep, keep_manner, keep_place, level_of, note_novel

U64, U32 = np.uint64, np.uint32
_WHO = int(Role.WHO)
_UNKNOWN, _SUCCESS = int(AuthCode.UNKNOWN), int(AuthCode.SUCCESS)


@kernel
def scan(uses: Any, scope: int, memory: Memory, p: Params, found: npt.NDArray[np.void]) -> int:
    """Score each use of a key of one scope, then learn from it; how many findings are in ``found``.

    ``uses`` are the batch's records (:func:`gatewatch.sdk.rows_of`), ``scope`` is 0 for credentials, and 1 for
    principals where a row names no credential. Cost: linear.
    """
    ts, role, status, auth = uses.ts, uses.role, uses.status, uses.auth
    denied, blocked, credential = uses.denied, uses.blocked_by_us, uses.k_credential
    key = credential if scope == 0 else uses.k_principal
    network, asn, country = uses.k_network, uses.asn, uses.k_country
    agent, model = uses.k_user_agent, uses.k_model
    keys, rows, pop = memory.keys, memory.rows, memory.pop[0]
    n = 0
    for i in range(ts.shape[0]):
        if i % STRIDE == 0:
            look_ahead(keys, rows, key, i, at_once=False)
        t = ts[i]
        if role[i] & _WHO == 0 or key[i] == U64(0) or blocked[i] == 1 or not np.isfinite(t):
            continue
        if scope != 0 and credential[i] != U64(0):
            continue
        served = auth[i] == _SUCCESS or (auth[i] == _UNKNOWN and status[i] < 400)
        nowhere = network[i] == U64(0) and country[i] == U64(0) and asn[i] < 1
        if nowhere or not (served or denied[i] == 1):
            continue  # who holds the key was let in, or turned away by name
        pop.rows += 1
        if t > pop.now:
            pass_time(pop, t, p)
        at, new = find_or_admit(keys, key[i], t, served, authenticated_only=True, at_once=False)
        if at < 0:
            continue
        row = rows[at]
        if new:
            clear(row, t)
        operator = U32(max(0, asn[i]))
        use = Use(i, t, _print(network[i]), operator, _print(country[i]), _print(agent[i]), _print(model[i]))
        reason = _use(row, pop, use, key[i], agent[i], memory, p)
        hold(keys, at, row.accused == 1)
        if reason != NOTHING:
            _write(found[n], reason, row, pop, use)
            n += 1
    return n


@kernel
def _use(row: Any, pop: Any, use: Use, key: np.uint64, agent: np.uint64, memory: Memory, p: Params) -> int:
    """One use of a key: the reason to tell of it, or NOTHING."""
    if use.t > row.t:
        _pass_time(row, pop, use, p)
    if use.t < row.known_at:
        _get_to_know(row, use, p)
        return NOTHING
    judged(pop.calibrator, -math.inf)
    if level_of(row, use) == 0:
        if _at_home(row, pop, use):
            note_agent(memory.agents, memory.agent_rows, agent, _print(key), use.t)
        return NOTHING
    if not holds(row, AGENT, use.agent) and is_release(memory.agents, memory.agent_rows, agent, use.t):
        keep(row, AGENT, use.agent, 1.0)
    return _away(row, pop, use, p)


@kernel
def _print(key: np.uint64) -> np.uint32:
    """32 bits of a key, never 0, unless it is absent."""
    return U32(0) if key == U64(0) else U32((key >> U64(32)) | U64(1))


@kernel
def _weight(row: Any, t: float, tau: float) -> float:
    """What an event at ``t`` weighs now in a count with that decay time: less than 1 if it comes late."""
    return 1.0 if t >= row.t else float(math.exp((t - row.t) / tau))


@kernel
def _get_to_know(row: Any, use: Use, p: Params) -> None:
    """A key's first rows: everything is new, so nothing is."""
    row.events += np.float32(1.0)
    row.born = min(row.born, use.t)
    keep_place(row, use, 1.0)
    keep_manner(row, use, 1.0)
    if row.events >= p.known_events and use.t - row.born >= p.known_s:
        row.known_at = use.t


@kernel
def _pass_time(row: Any, pop: Any, use: Use, p: Params) -> None:
    """Bring the row to a later time, at which a probation may end."""
    gap = use.t - row.t
    in_use = advance(row, use.t)
    if use.t >= row.known_at:
        pop.days += in_use
        pop.alive += in_use
    if row.level == 0:
        return
    fade = np.float32(math.exp(-gap / WINDOW_S))
    row.place_now *= fade
    row.switches *= fade
    if row.accused == 1 and use.t - row.place_last >= p.release_s:
        _close(row)  # silent since: it was never learned
    elif row.accused == 0 and use.t - row.place_since >= p.probation_s:
        _accept(row, pop, counts=True)


@kernel
def _at_home(row: Any, pop: Any, use: Use) -> bool:
    """A use from a known place: it teaches. Returns whether the agent was new."""
    weight = _weight(row, use.t, MEMORY_S)
    if row.level != 0 and row.away == 1 and abs(use.t - row.place_last) < WINDOW_S:
        row.switches += np.float32(_weight(row, use.t, WINDOW_S))
    row.away = 0
    row.events += np.float32(1.0)
    row.home_at = max(row.home_at, use.t)
    row.home_agent = use.agent
    keep_place(row, use, weight)
    agent_new, model_new = keep_manner(row, use, weight)
    if agent_new and note_novel(row, AGENT, use.t):
        pop.novel[AGENT] += 1.0
    if model_new and note_novel(row, MODEL, use.t):
        pop.novel[MODEL] += 1.0
    return agent_new


@kernel
def _away(row: Any, pop: Any, use: Use, p: Params) -> int:
    """A use from a place where the key never was: the reason to tell of it, or NOTHING."""
    if row.level != 0 and row.accused == 0 and not _is_there(row, use):
        _accept(row, pop, counts=True)  # the key moves on: one place at a time is on probation
    elif row.accused == 1 and use.t - row.place_since >= p.release_s:
        _accept(row, pop, counts=False)  # nobody has said anything for a day
    level = level_of(row, use)
    if level == 0:  # it lies within what was just accepted
        _at_home(row, pop, use)
        return NOTHING
    if row.level == 0:
        _begin(row, use, level)
        row.nats[0] = np.float32(-math.log(daily_rate(row, level - 1, pop.daily[level - 1])))
    lately = np.float32(_weight(row, use.t, WINDOW_S))
    if row.away == 0 and abs(use.t - row.home_at) < WINDOW_S:
        row.switches += lately
    row.away = 1
    row.place_last = max(row.place_last, use.t)
    row.place_n += np.float32(1.0)
    row.place_now += lately
    _mark(row, pop, use, p)
    return _judge(row, pop, use, p)


@kernel
def _is_there(row: Any, use: Use) -> bool:
    """Whether a use comes from the place on probation: its country, operator or network, by how new it is."""
    if row.level == COUNTRY + 1:
        return bool(use.country == row.place[COUNTRY])
    if row.level == ASN + 1:
        return bool(use.asn == row.place[ASN])
    return bool(use.network == row.place[NETWORK])


@kernel
def _begin(row: Any, use: Use, level: int) -> None:
    row.level = level
    row.mark[:] = 0
    row.nats[:] = np.float32(0.0)
    row.second = row.away = row.beside = 0
    row.place[NETWORK], row.place[ASN], row.place[COUNTRY] = use.network, use.asn, use.country
    row.place_since = row.place_last = use.t
    row.place_n = row.place_now = row.switches = 0.0


@kernel
def _mark(row: Any, pop: Any, use: Use, p: Params) -> None:
    """What else is unusual about the uses from there."""
    at = row.level - 1
    if row.mark[WITH_AGENT] == 0 and not holds(row, AGENT, use.agent):
        own = daily_rate(row, AGENT, pop.daily[AGENT])
        _set(row, WITH_AGENT, max(min(1.0, own), pop.share[at, WITH_AGENT]))
    if row.mark[WITH_MODEL] == 0 and not holds(row, MODEL, use.model):
        own = daily_rate(row, MODEL, pop.daily[MODEL])
        _set(row, WITH_MODEL, max(min(1.0, own), pop.share[at, WITH_MODEL]))
    if use.agent == U32(0) or use.agent != row.home_agent:
        row.second = 1
    if row.second == 1 and row.switches >= LEAST_SWITCHES:
        if row.mark[WITH_CONCURRENT] == 0:
            _set(row, WITH_CONCURRENT, pop.share[at, WITH_CONCURRENT])
        if row.level == COUNTRY + 1 or row.home_at - row.place_since >= HANDOVER_S:
            row.beside = 1
    if row.mark[WITH_BURST] == 0 and row.place_now >= max(LEAST_BURST, p.burst_ratio * _usual(row)):
        _set(row, WITH_BURST, pop.share[at, WITH_BURST])


@kernel
def _set(row: Any, mark: int, share: float) -> None:
    row.mark[mark] = 1
    row.nats[1 + mark] = np.float32(-math.log(share))


@kernel
def _usual(row: Any) -> float:
    """Events that the key makes in 10 minutes."""
    return float(row.events / max(row.seconds, np.float32(WINDOW_S)) * WINDOW_S)


@kernel
def total(row: Any) -> float:
    """Nats of the place and of all that came with it."""
    nats = 0.0
    for j in range(1 + MARKS):
        nats += row.nats[j]
    return nats


@kernel
def _judge(row: Any, pop: Any, use: Use, p: Params) -> int:
    nats = total(row)
    if row.accused == 0:
        judged(pop.calibrator, nats - pop.model_threshold)
    if nats < pop.threshold:
        return NOTHING
    row.accused = 1
    reason = NEW_PLACE
    if row.beside == 1:
        reason = CONCURRENT
    elif row.mark[WITH_BURST] == 1:
        reason = BURST
    grown = row.place_n >= GROWTH * row.told_n and row.told_n > 0.0
    if reason <= row.told_reason and not grown and use.t - row.told_at < p.refresh_s:
        return NOTHING
    row.told_reason = max(reason, row.told_reason)
    row.told_n = row.place_n
    row.told_at = max(row.told_at, use.t)
    return reason


@kernel
def accept_accused(row: Any, pop: Any) -> None:
    """A person expects the place that the key is accused of. Other places stay what they are: each is told of."""
    if row.accused == 1:
        _accept(row, pop, counts=False)


@kernel
def _accept(row: Any, pop: Any, counts: bool) -> None:
    """The key is known by the place from now on; if it counts, all keys learn what benign moves are like."""
    level, t = int(row.level), row.place_since
    weight = row.place_n
    row.events += row.place_n
    for kind in range(PLACES):
        keep(row, kind, row.place[kind], weight)
    if counts:
        for kind in range(level):
            if note_novel(row, kind, t):
                pop.novel[kind] += 1.0
                if kind == level - 1:
                    pop.places[kind] += 1.0
                    for mark in range(MARKS):
                        pop.marks[kind, mark] += row.mark[mark]
    _close(row)


@kernel
def _close(row: Any) -> None:
    row.level = 0
    row.accused = row.away = 0
    row.told_reason = 0
    row.told_n = 0.0
    row.told_at = -np.inf


@kernel
def _write(hit: Any, reason: int, row: Any, pop: Any, use: Use) -> None:
    """Fill one finding. What ``detail`` holds is in ``Reason.columns``."""
    level = int(row.level)
    hit.row, hit.reason = use.i, reason
    hit.nats, hit.threshold = total(row), pop.threshold
    hit.observed, hit.expected = row.place_n, 0.0
    hit.since = row.place_since
    hit.window_s = max(0.0, use.t - row.place_since)
    for j in range(1 + MARKS):
        hit.detail[j] = row.nats[j]
    hit.detail[5], hit.detail[6], hit.detail[7] = level, row.days, row.novel[level - 1]
