"""The loop over rows: who was refused what for the first time, and what that says about them.

The main test is a sequential probability ratio test on first contacts, in CUSUM form: the outcome of each new (key,
resource) pair is a step between a caller who knows what it may use (served with probability theta0) and one who tries
(theta1). Under theta0 the mean number of first contacts between two false alarms is at least 1 / alpha (Lorden 1971).
Repeats count for nothing, W never falls below 0, and all of it fades over a week.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gatewatch.sdk import (
    STRIDE,
    AuthCode,
    Head,
    Pairs,
    Role,
    ahead,
    ask_pair,
    find,
    find_or_admit,
    hold,
    is_far,
    is_held,
    kernel,
    look_ahead,
    mix,
    succeeded_since,
)

from .constants import (
    ACCUSED,
    AGAIN,
    AT_ONCE,
    AT_ONCE_S,
    BACK,
    CANARY,
    COVERAGE,
    ENUMERATION,
    FIRST,
    GONE,
    HOUR_S,
    IP,
    KNOWN,
    LISTED,
    LOCKED,
    MANY,
    MISSING,
    NETWORK,
    NEVER_SERVED,
    NOTHING,
    OPEN,
    PRINCIPAL,
    PROBE,
    REDIRECTS,
    REFUSED,
    SERVED,
    UNTOLD,
    WEEK_S,
    WITHOUT_KEY,
)
from .layout import Asked, Contact, Memory, Names, Params
from .names import slot_of
from .pairs import met, turn
from .row import (
    age,
    clear,
    ease,
    evidence,
    fingerprint,
    holds,
    note_address,
    refused_within,
    step_down,
    step_up,
    touch_name,
    touched,
    was_made,
)
from .shared import forgive, refused_to_many
from .telling import is_news, write

U64 = np.uint64
_SUCCESS = int(AuthCode.SUCCESS)
_WHO, _WHERE = int(Role.WHO), int(Role.WHERE)


@kernel
def scan(
    requests: Any, asked: Asked, scope: int, memory: Memory, names: Names, p: Params, found: npt.NDArray[np.void]
) -> int:
    """Score each row of a batch for one scope, then learn from it; how many findings are in ``found``.

    ``requests`` are its records (:func:`gatewatch.sdk.rows_of`), ``scope`` says whether principals, addresses
    or networks are looked at, networks after addresses. Cost: linear.
    """
    ts, said = requests.ts, memory.said
    key = requests.k_principal if scope == PRINCIPAL else requests.k_ip if scope == IP else requests.k_network
    endpoint, path, model, feature_from = requests.k_endpoint, requests.k_path, requests.k_model, asked.starts
    keys, rows, pairs, common = memory.keys, memory.rows, memory.pairs, memory.common[0]
    plain = names.key.shape[0] == 0
    n = 0
    for i in range(ts.shape[0]):
        if i % STRIDE == 0:
            look_ahead(keys, rows, key, i, at_once=False)
            _ask_pairs(keys, rows, pairs, key, endpoint, path, model, i)
        t = ts[i]
        outcome = outcome_of(requests[i])
        resource = _resource(endpoint[i], path[i], model[i])
        _opens(memory.served, scope, outcome, requests[i])
        if outcome == UNTOLD or resource == U64(0) or not _counts(requests[i], key[i], scope, said[i]):
            continue
        _count(pairs, common, t)
        weight, bit, canary = 0.0, -1, False
        if not plain or (feature_from.shape[0] > 0 and feature_from[i + 1] > feature_from[i]):
            resource, weight, bit, canary = _listed(requests[i], asked, i, resource, names, p)
        served = outcome == SERVED
        if _says_nothing(scope, served, keys, rows, key[i]):
            continue
        at, new = find_or_admit(keys, key[i], t, served, authenticated_only=False, at_once=canary or not served)
        if at < 0:
            _pass_by(served, pairs, common, mix(key[i], resource))
            continue
        row = rows[at]
        if new:
            clear(row, t)
        first = _is_first(said[i], scope, key[i], resource, served, pairs, common)
        again = first and not served and _of_known_family(asked.family, i, outcome, key[i], pairs, common, p)
        if outcome == LOCKED:
            first, again = first and not again, _is_known(memory.served, scope, said[i], resource)
        _note_first(said, i, scope, first, again)
        if outcome != SERVED or canary or evidence(row) > 0.0 or is_held(keys, at):
            known = scope != NETWORK and succeeded_since(keys, at, 0.0)
            address = requests[i].k_ip
            canary &= scope != NETWORK
            contact = Contact(i, t, outcome, key[i], known, address, resource, weight, bit, canary, first, again)
            n, held = _visit(contact, row, memory, p, found, n)
            _tell_network(said, i, scope, contact, row, p)
            hold(keys, at, held)
    return n


@kernel(inline=True)
def _note_first(said: Any, i: int, scope: int, first: bool, again: bool) -> None:
    """Tell the scan of networks whether it is the address's first contact."""
    if scope == IP and first:
        said[i] = FIRST | KNOWN if again else FIRST


@kernel
def _is_known(served: Any, scope: int, said: int, resource: np.uint64) -> bool:
    """Whether others are served what is locked."""
    if scope == NETWORK:
        return bool(said & KNOWN != 0)
    return bool(served[int(resource & U64(OPEN - 1))] == resource)


@kernel
def _tell_network(said: Any, i: int, scope: int, contact: Contact, row: Any, p: Params) -> None:
    """What the row means for the network of its address: an accused address does not speak for it."""
    if scope != IP:
        return
    if row.told_rank > 0 and contact.t - row.told_at < p.refresh_s:
        said[i] = ACCUSED
    elif contact.outcome == SERVED:
        said[i] |= 0 if contact.first else BACK
    elif not holds(row, fingerprint(contact.resource)):
        said[i] = 0  # it is refused to many


@kernel(inline=True)
def _counts(request: Any, key: np.uint64, scope: int, said: int) -> bool:
    """Whether the row is one of the scope's, not refused by ourselves, and has a time."""
    if key == U64(0):
        return False
    if scope == NETWORK and (said == 0 or said & ACCUSED != 0):
        return False
    wanted = _WHO if scope == PRINCIPAL else _WHERE
    return bool(request.role & wanted != 0 and request.blocked_by_us != 1 and np.isfinite(request.ts))


@kernel
def _says_nothing(scope: int, served: bool, keys: Head, rows: Any, network: np.uint64) -> bool:
    """What is served in a network says nothing, unless something is held against it."""
    if scope != NETWORK or not served:
        return False
    at = find(keys, network)
    return at < 0 or evidence(rows[at]) <= 0.0


@kernel
def _is_first(
    said: int, scope: int, key: np.uint64, resource: np.uint64, served: bool, pairs: Pairs, common: Any
) -> bool:
    """Whether it is the key's first contact; what an address is served for the first time speaks for its network."""
    if scope == NETWORK and (served or said & FIRST == 0):
        return bool(said & FIRST != 0)
    return not met(pairs, common, mix(key, resource))


@kernel(inline=True)
def _count(pairs: Pairs, common: Any, t: float) -> None:
    """One more row; time goes on."""
    common.rows += 1
    if t > common.now:
        common.now = t
        turn(pairs, common, t)


@kernel
def _opens(known: Any, scope: int, outcome: int, request: Any) -> None:
    """Whether somebody is served this, with whatever model: rows of all roles tell the scan of addresses."""
    if scope == IP and outcome == SERVED:
        base = _resource(request.k_endpoint, request.k_path, U64(0))
        resource = _resource(request.k_endpoint, request.k_path, request.k_model)
        known[int(base & U64(OPEN - 1))] = base
        known[int(resource & U64(OPEN - 1))] = resource


@kernel
def _pass_by(served: bool, pairs: Pairs, common: Any, pair: np.uint64) -> None:
    """A key without a row was served: if it is refused the same later, that is no first contact."""
    if served:
        met(pairs, common, pair)


@kernel
def _of_known_family(family: Any, i: int, outcome: int, key: np.uint64, pairs: Pairs, common: Any, p: Params) -> bool:
    """Whether the key missed another id of the same template before; from now on it did."""
    if outcome == REFUSED or family.shape[0] == 0 or family[i] == U64(0):
        return False
    return met(pairs, common, mix(key, mix(family[i], p.salt)))


@kernel
def _ask_pairs(keys: Head, rows: Any, pairs: Pairs, key: Any, endpoint: Any, path: Any, model: Any, i: int) -> None:
    """As :func:`look_ahead`, for what was met. Where features are asked for, it is another pair: in vain."""
    if is_far(keys, rows):
        for j in range(ahead(i, 1), min(key.shape[0], i + 2 * STRIDE)):
            ask_pair(pairs, mix(key[j], _resource(endpoint[j], path[j], model[j])))


@kernel
def _resource(endpoint: np.uint64, path: np.uint64, model: np.uint64) -> np.uint64:
    """What was asked for: route, else path, and model; 0 where none is known."""
    base = endpoint if endpoint != U64(0) else path
    return mix(base, model) if model != U64(0) else base


@kernel
def outcome_of(request: Any) -> int:
    """How a request ended, for this detector."""
    status = request.status
    if request.denied == 1 or status == 403:
        return REFUSED
    if status in GONE:
        return MISSING
    if request.k_principal == U64(0) and (status == 401 or status in REDIRECTS):
        bare = status == 401 and request.k_account == U64(0) and request.k_credential == U64(0)
        return LOCKED if bare else UNTOLD  # with a secret it is a failed login; a redirect may be the way to the login
    if status == 401:
        return REFUSED
    if 200 <= status < 400:
        return SERVED
    return SERVED if status == -1 and request.auth == _SUCCESS else UNTOLD


@kernel
def _listed(
    request: Any, asked: Asked, i: int, resource: np.uint64, names: Names, p: Params
) -> tuple[np.uint64, float, int, bool]:
    """The resource with the features asked for, in whatever order; its weight, bit and canary by the lists."""
    weight, bit, canary = 0.0, -1, False
    for name in (request.k_endpoint, request.k_path, request.k_model):
        at = slot_of(names, name)
        if at >= 0:
            canary |= names.canary[at] == 1
            if names.weight[at] > weight:
                weight, bit = names.weight[at], int(names.bit[at])
    starts = asked.starts
    if starts.shape[0] > 0 and starts[i + 1] > starts[i]:
        every = U64(0)
        for j in range(starts[i], starts[i + 1]):
            name = asked.features[j]
            every = U64(every + mix(name, p.salt))
            at = slot_of(names, name)
            if at >= 0:
                canary |= names.canary[at] == 1
                if names.weight[at] > weight:
                    weight, bit = names.weight[at], int(names.bit[at])
        resource = mix(resource, every)
    return resource, weight, bit, canary


@kernel
def _visit(
    contact: Contact, row: Any, memory: Memory, p: Params, found: npt.NDArray[np.void], n: int
) -> tuple[int, bool]:
    """One row, where there is something to do: the new number of findings, and whether to hold the key."""
    t = contact.t
    weight = age(row, t, p)
    reason = NOTHING
    if contact.outcome != SERVED:
        reason = _turned_away(row, contact, weight, memory, p)
    else:
        if not contact.first or p.least_addresses > 0:
            was_made(row, fingerprint(contact.resource), p)
        if contact.first:
            step_down(row, weight, p)
    if contact.canary and t - row.canary_at >= p.refresh_s:
        row.canary_at = t
        reason = CANARY
    if reason != NOTHING:
        write(found[n], reason, row, contact, p)
        n += 1
    told = row.told_rank > 0 and t - row.told_at < p.refresh_s
    return n, told or evidence(row) >= 0.5 * p.threshold


@kernel
def _turned_away(row: Any, contact: Contact, weight: float, memory: Memory, p: Params) -> int:
    """A request that was refused, or for what does not exist: the reason to tell of it, or NOTHING."""
    refused = contact.outcome == REFUSED
    listed = contact.weight > 0.0
    if not listed and refused_to_many(memory.shared, memory.shared_rows, row, contact, p):
        return NOTHING
    name = fingerprint(contact.resource)
    first = contact.first and not holds(row, name)  # the memory of pairs forgets, the exact set does not
    if first:
        kind = LISTED if listed and refused else contact.outcome
        each = AGAIN if contact.again else 1.0
        if listed:  # a client that comes without its token first has not tried what it may not use
            each = 1.0 if kind == LOCKED else contact.weight
        step_up(row, kind, name, weight * each, contact.t, p)
        if p.least_addresses > 0:
            note_address(row, fingerprint(contact.address))
    elif contact.outcome == LOCKED:
        ease(row, weight, p)
    if refused and contact.bit >= 0:
        touch_name(row, contact.bit, contact.t)
    if refused and not contact.known:
        row.run += 1.0
    reason = _judge(row, first, contact.t, p)
    if reason not in (NOTHING, COVERAGE):
        forgive(memory.shared, memory.shared_rows, row, contact, p)
        reason = _judge(row, first, contact.t, p)
    return reason if reason != NOTHING and is_news(row, reason, contact.t, p) else NOTHING


@kernel
def _judge(row: Any, first: bool, t: float, p: Params) -> int:
    """Which test is over its threshold; only a first contact says something new."""
    if first and row.n_addresses >= p.least_addresses:
        if touched(row) >= p.covered:
            return COVERAGE
        if evidence(row) >= p.threshold and not _at_once(row, t):
            if row.missing <= row.refused:
                return PROBE
            return WITHOUT_KEY if row.n_locked > 0.5 * row.n_missing else ENUMERATION
        if refused_within(row, HOUR_S) >= p.refused_per_hour or refused_within(row, WEEK_S) >= p.refused_per_week:
            return MANY
    return NEVER_SERVED if row.run >= p.never_served else NOTHING


@kernel
def _at_once(row: Any, t: float) -> bool:
    """Whether it may be a page whose session is over: most of it locked, and all within a moment."""
    return bool(t - row.since < AT_ONCE_S and row.n_locked > 0.5 * row.n_missing and row.n_missing < AT_ONCE)
