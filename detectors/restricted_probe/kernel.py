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

from gatewatch.sdk import AuthCode, find_or_admit, kernel, mix

from .constants import (
    CANARY,
    CANARY_NATS,
    COVERAGE,
    ENUMERATION,
    GROWTH,
    HOUR_MIN,
    HOUR_S,
    IP,
    LISTED,
    MANY,
    MISSING,
    NEVER_SERVED,
    NOTHING,
    PRINCIPAL,
    PROBE,
    REFUSED,
    SERVED,
    UNTOLD,
    WEEK_MIN,
)
from .layout import Columns, Contact, Names, Params, Tables
from .names import slot_of
from .pairs import met, turn
from .row import (
    age,
    clear,
    evidence,
    fingerprint,
    holds,
    refused_within,
    step_down,
    step_up,
    touch_name,
    touched,
)
from .shared import forgive, refused_to_many

U64 = np.uint64
_SUCCESS, _NOBODY = int(AuthCode.SUCCESS), int(AuthCode.NONE)


@kernel
def scan(
    columns: Columns,
    tables: Tables,
    bits: npt.NDArray[np.uint64],
    common: Any,
    names: Names,
    p: Params,
    found: npt.NDArray[np.void],
) -> int:
    """Score each row of a batch, then learn from it; how many findings are in ``found``. Cost: linear."""
    # Out of their tuples once: Numba counts references each time.
    ts, role, principal, ip = columns.ts, columns.role, columns.principal, columns.ip
    status, auth, denied, blocked = columns.status, columns.auth, columns.denied, columns.blocked
    endpoint, path, model, feature_from = columns.endpoint, columns.path, columns.model, columns.feature_from
    principals, ips = tables.principals, tables.ips
    principal_rows, ip_rows = tables.principal_rows, tables.ip_rows
    principals_held, ips_held = principals.held, ips.held
    principals_success, ips_success = principals.success, ips.success
    salt_principal, salt_ip = p.salts
    plain = names.key.shape[0] == 0
    featured = feature_from.shape[0] > 0
    n = 0
    for i in range(ts.shape[0]):
        t = ts[i]
        if blocked[i] == 1 or not np.isfinite(t):
            continue  # ours: it teaches nothing
        if t > common.now:
            common.now = t
            turn(bits, common, t)
        outcome = outcome_of(status[i], denied[i], auth[i], principal[i] != U64(0))
        resource = endpoint[i] if endpoint[i] != U64(0) else path[i]
        if model[i] != U64(0):
            resource = mix(resource, model[i])
        if outcome == UNTOLD or resource == U64(0):
            continue
        weight, index, canary = 0.0, -1, False
        if not plain or (featured and feature_from[i + 1] > feature_from[i]):
            resource, weight, index, canary = _listed(columns, i, resource, names, p)
        served = outcome == SERVED
        if role[i] & 1 and principal[i] != U64(0):
            common.rows[PRINCIPAL] += 1
            at, new = find_or_admit(principals, principal[i], t, served, authenticated_only=False)
            if at >= 0:
                first = not met(bits, common, mix(U64(principal[i] ^ salt_principal), resource))
                row = principal_rows[at]
                if new:
                    clear(row, t)
                if not served or canary or evidence(row) > 0.0 or principals_held[at] == 1:
                    known = principals_success[at] > -np.inf
                    contact = Contact(i, PRINCIPAL, t, outcome, principal[i], known, resource, weight, index, canary, first)
                    n, principals_held[at] = _visit(contact, row, tables, p, found, n)
        if role[i] & 2 and ip[i] != U64(0):
            common.rows[IP] += 1
            at, new = find_or_admit(ips, ip[i], t, served, authenticated_only=False)
            if at >= 0:
                first = not met(bits, common, mix(U64(ip[i] ^ salt_ip), resource))
                row = ip_rows[at]
                if new:
                    clear(row, t)
                if not served or canary or evidence(row) > 0.0 or ips_held[at] == 1:
                    known = ips_success[at] > -np.inf
                    contact = Contact(i, IP, t, outcome, ip[i], known, resource, weight, index, canary, first)
                    n, ips_held[at] = _visit(contact, row, tables, p, found, n)
    return n


@kernel
def outcome_of(status: int, denied: int, auth: int, named: bool) -> int:
    """How a request ended, for this detector."""
    if denied == 1 or status == 403:
        return REFUSED
    if status == 401:
        return REFUSED if named else UNTOLD  # without a name it is a failed login: credential_stuffing's
    if status in (404, 405, 422):
        return MISSING
    if 200 <= status < 400:
        return SERVED
    return SERVED if status == -1 and auth == _SUCCESS else UNTOLD


@kernel
def _listed(
    columns: Columns, i: int, resource: np.uint64, names: Names, p: Params
) -> tuple[np.uint64, float, int, bool]:
    """The resource with the features asked for, in whatever order; its weight, bit and canary by the lists."""
    weight, index, canary = 0.0, -1, False
    for name in (columns.endpoint[i], columns.path[i], columns.model[i]):
        at = slot_of(names, name)
        if at >= 0:
            canary |= names.canary[at] == 1
            if names.weight[at] > weight:
                weight, index = names.weight[at], int(names.index[at])
    if columns.feature_from.shape[0] > 0 and columns.feature_from[i + 1] > columns.feature_from[i]:
        every = U64(0)
        for j in range(columns.feature_from[i], columns.feature_from[i + 1]):
            name = columns.feature[j]
            every = U64(every + mix(name, p.no_features))
            at = slot_of(names, name)
            if at >= 0:
                canary |= names.canary[at] == 1
                if names.weight[at] > weight:
                    weight, index = names.weight[at], int(names.index[at])
        resource = mix(resource, every)
    return resource, weight, index, canary


@kernel
def _visit(
    contact: Contact, row: Any, tables: Tables, p: Params, found: npt.NDArray[np.void], n: int
) -> tuple[int, bool]:
    """One row for one scope, where there is something to do: the new number of findings, and whether to hold the key."""
    scope, t = contact.scope, contact.t
    weight = age(row, t, scope, p)
    reason = NOTHING
    if contact.outcome != SERVED:
        reason = _turned_away(row, contact, weight, tables, p)
    elif contact.first:
        step_down(row, weight, p)
    if contact.canary and t - row.canary_at >= p.refresh_s:
        row.canary_at = t
        reason = CANARY
    if reason != NOTHING:
        _write(found[n], reason, row, contact, p)
        n += 1
    told = row.told_rank > 0 and t - row.told_at < p.refresh_s
    return n, told or evidence(row) >= 0.5 * p.threshold


@kernel
def _turned_away(row: Any, contact: Contact, weight: float, tables: Tables, p: Params) -> int:
    """A request that was refused, or for what does not exist: the reason to tell of it, or NOTHING."""
    t, scope = contact.t, contact.scope
    refused = contact.outcome == REFUSED
    listed = contact.weight > 0.0
    if not listed and refused_to_many(tables.shared, tables.shared_rows, row, contact, p):
        return NOTHING
    name = fingerprint(contact.resource)
    first = contact.first and not holds(row, name)  # the memory of pairs forgets, the exact set does not
    if first:
        kind = LISTED if listed and refused else contact.outcome
        step_up(row, kind, name, weight * (contact.weight if listed else 1.0), t, p)
    if refused and contact.index >= 0:
        touch_name(row, contact.index, t)
    if refused and not contact.known and scope == PRINCIPAL:
        row.run += 1.0
    reason = _judge(row, first, scope, p)
    if reason != NOTHING and reason != COVERAGE:
        forgive(tables.shared, tables.shared_rows, row, contact, p)
        reason = _judge(row, first, scope, p)
    return reason if reason != NOTHING and _is_news(row, reason, t, p) else NOTHING


@kernel
def _judge(row: Any, first: bool, scope: int, p: Params) -> int:
    """Which test is over its threshold; only a first contact says something new."""
    if first:
        if touched(row) >= p.covered:
            return COVERAGE
        if evidence(row) >= p.threshold:
            return ENUMERATION if row.missing > row.refused else PROBE
        if scope == PRINCIPAL and (
            refused_within(row, row.t, HOUR_MIN) >= p.refused_per_hour
            or refused_within(row, row.t, WEEK_MIN) >= p.refused_per_week
        ):
            return MANY
    return NEVER_SERVED if row.run >= p.never_served else NOTHING


@kernel
def _is_news(row: Any, reason: int, t: float, p: Params) -> bool:
    """The first finding, a graver one, half as much again, or five minutes later."""
    if reason == NEVER_SERVED:
        if row.run < GROWTH * row.run_told:
            return False
        row.run_told = row.run
        return True
    rank = 2 if reason == COVERAGE else 1
    n = row.n_refused + row.n_missing
    if rank <= row.told_rank and n < GROWTH * row.told_n and t - row.told_at < p.refresh_s:
        return False
    row.told_rank = max(rank, row.told_rank)
    row.told_n = n
    row.told_at = max(t, row.told_at)
    return True


@kernel
def _write(hit: Any, reason: int, row: Any, contact: Contact, p: Params) -> None:
    """Fill one finding. What ``detail`` holds is in ``Reason.columns``."""
    t = contact.t
    hit.row, hit.scope, hit.reason = contact.i, contact.scope, reason
    hit.nats, hit.threshold, hit.since = evidence(row), 0.0, row.since
    hit.detail[:] = 0.0
    if reason == CANARY:
        hit.nats, hit.observed, hit.expected, hit.since = CANARY_NATS, 1.0, 0.0, t
    elif reason == COVERAGE:
        hit.observed, hit.expected = touched(row), 0.0
        hit.nats, hit.threshold = p.up * touched(row), p.up * p.covered
    elif reason == MANY:
        hour = refused_within(row, row.t, HOUR_MIN)
        short = hour >= p.refused_per_hour
        hit.observed = hour if short else refused_within(row, row.t, WEEK_MIN)
        hit.expected = p.refused_per_hour if short else p.refused_per_week
        hit.since = row.t - (HOUR_S if short else 60.0 * WEEK_MIN)
    elif reason == NEVER_SERVED:
        hit.observed, hit.expected = row.run, 0.0
        hit.detail[0] = p.never_served
    else:
        n = row.n_refused + row.n_missing + row.n_served
        hit.threshold = p.threshold
        hit.observed, hit.expected = row.n_refused + row.n_missing, p.expected_share * n
    if reason in (PROBE, ENUMERATION):
        hit.detail[0], hit.detail[1], hit.detail[2] = row.refused, row.missing, row.credit
        hit.detail[3], hit.detail[4], hit.detail[5] = row.n_refused, row.n_missing, row.n_served
        hit.detail[6], hit.detail[7] = p.up, p.missing_weight
    elif reason == COVERAGE:
        hit.detail[0], hit.detail[1] = p.up, p.covered
    hit.window_s = max(0.0, t - hit.since)
