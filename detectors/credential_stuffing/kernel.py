"""The loop over rows: who tried which name from where, how it ended, and what that says about the source.

Three tests run on each key, in nats of -ln p under "this source is benign":

*first contacts* (stuffing, spraying, distributed cracking): the outcome of each new (key, name) pair is a step of a
sequential probability ratio test between a benign source (success ratio theta0, the site's own) and an attacker
(THETA1), in CUSUM form: W never falls below 0, so old successes buy nothing, and repeats of a pair count for nothing.
Under theta0 the mean number of first contacts between two false alarms is at least exp(threshold) (Lorden 1971).

*runs* (cracking): failures on one name without a success between. People mistype, and some more than others: the
chance of success at a try is Beta(PEOPLE_A, PEOPLE_B) over people, so a run of k failures has a polynomial tail.

*plain limits*: counts at once, a minute and in ten minutes, which nothing can move.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gatewatch.sdk import (
    STRIDE,
    Pairs,
    add_pair,
    ahead,
    ask_pair,
    find_or_admit,
    hold,
    is_far,
    kernel,
    look_ahead,
    mix,
    succeeded_since,
)

from .constants import ACCOUNT, IP, NETWORK, NOTHING, WEEK_S
from .doors import note_door, place_of, wants_token
from .layout import Attempt, Memory, Tables
from .pairs import holds
from .row import age, clear, failure, success, threshold_of
from .site import advance
from .telling import worth_telling, write

U64 = np.uint64


@kernel
def scan(rows: Any, tables: Tables, memory: Memory, found: npt.NDArray[np.void]) -> int:
    """Score each row of a batch, then learn from it; how many findings are in ``found``.

    ``rows`` are its records (:func:`gatewatch.sdk.rows_of`).

    Cost: 0.05 us a row that does not authenticate, 0.3 us for one that does.
    """
    account, credential, principal = rows.k_account, rows.k_credential, rows.k_principal
    ip, network = rows.k_ip, rows.k_network
    heads_ip, heads_network, heads_account = tables.ip, tables.network, tables.account
    rows_ip, rows_network, rows_account = tables.rows_ip, tables.rows_network, tables.rows_account
    seen, good = memory.seen, memory.good
    site_ip, site_network, site_account = memory.site[IP], memory.site[NETWORK], memory.site[ACCOUNT]
    common, none, n = memory.common[0], memory.common[0].no_name, 0
    for i in range(rows.shape[0]):
        if i % STRIDE == 0:
            _look_ahead(rows, tables, common, seen, good, i)
        auth, t = rows[i].auth, rows[i].ts
        place = place_of(common, rows[i])
        note_door(rows[i], memory.doors, common, place)
        if auth < 1 or auth > 2 or rows[i].blocked_by_us == 1 or not np.isfinite(t):
            continue
        advance(common, memory.site, seen, good, t)
        ok = auth == 1
        role = rows[i].role
        if role & 2 and ip[i] != U64(0):
            name = _first_of(account[i], credential[i], principal[i], place)
            at, new = find_or_admit(heads_ip, ip[i], t, ok, authenticated_only=False, at_once=not ok)
            accused = False
            if _matters(rows_ip, at, new, site_ip, common, seen, good, IP, ip[i], name, ok, t):
                customer = name == place and succeeded_since(heads_ip, at, t - WEEK_S)
                attempt = _attempt_by(rows[i], i, IP, ip[i], name, place, memory, customer)
                n, accused, held = _step(rows_ip[at], site_ip, memory, common, found, n, attempt)
                hold(heads_ip, at, held)
            # Only an address that is not accused itself speaks for its network.
            if common.networks and not accused and network[i] != U64(0):
                at, new = find_or_admit(heads_network, network[i], t, ok, authenticated_only=False, at_once=not ok)
                if _matters(rows_network, at, new, site_network, common, seen, good, NETWORK, network[i], name, ok, t):
                    customer = name == place and succeeded_since(heads_network, at, t - WEEK_S)
                    attempt = _attempt_by(rows[i], i, NETWORK, network[i], name, place, memory, customer)
                    n, accused, held = _step(rows_network[at], site_network, memory, common, found, n, attempt)
                    hold(heads_network, at, held)
        if role & 1 and common.accounts and account[i] != U64(0):
            source = _first_of(network[i], ip[i], none, none)
            at, new = find_or_admit(heads_account, account[i], t, ok, authenticated_only=False, at_once=not ok)
            if _matters(rows_account, at, new, site_account, common, seen, good, ACCOUNT, account[i], source, ok, t):
                pair = _pair(common, ACCOUNT, account[i], source)
                attempt = Attempt(
                    i, ACCOUNT, t, ok, pair, pair, none, walks=False, typed=True, broken=False, address=ip[i]
                )
                n, accused, held = _step(rows_account[at], site_account, memory, common, found, n, attempt)
                hold(heads_account, at, held)
    return n


@kernel
def _look_ahead(rows: Any, tables: Tables, common: Any, seen: Pairs, good: Pairs, i: int) -> None:
    """Have in the cache what the next rows need: keys, and pairs."""
    account, credential, principal = rows.k_account, rows.k_credential, rows.k_principal
    ip, network, none = rows.k_ip, rows.k_network, common.no_name
    look_ahead(tables.ip, tables.rows_ip, ip, i, at_once=False)
    look_ahead(tables.network, tables.rows_network, network, i, at_once=False)
    look_ahead(tables.account, tables.rows_account, account, i, at_once=False)
    if not is_far(tables.ip, tables.rows_ip):
        return
    for j in range(ahead(i, 1), min(ip.shape[0], i + 2 * STRIDE)):
        name = _first_of(account[j], credential[j], principal[j], place_of(common, rows[j]))
        _ask_pair(seen, good, _pair(common, IP, ip[j], name))
        _ask_pair(seen, good, _pair(common, NETWORK, network[j], name))
        if account[j] != U64(0):
            _ask_pair(seen, good, _pair(common, ACCOUNT, account[j], _first_of(network[j], ip[j], none, none)))


@kernel
def _ask_pair(seen: Pairs, good: Pairs, pair: np.uint64) -> None:
    ask_pair(seen, pair)
    ask_pair(good, pair)


@kernel(inline=True)
def _first_of(a: np.uint64, b: np.uint64, c: np.uint64, d: np.uint64) -> np.uint64:
    """The first key that is there. ``d`` always is."""
    if a != U64(0):
        return a
    if b != U64(0):
        return b
    return c if c != U64(0) else d


@kernel
def _attempt_by(
    row: Any, i: int, scope: int, key: np.uint64, name: np.uint64, place: np.uint64, memory: Memory, customer: bool
) -> Attempt:
    """A row as an address or a network sees it. ``customer``: nobody is named, and the key got in lately."""
    common, typed, ok = memory.common[0], row.k_account != U64(0), row.auth == 1
    unnamed = name == place
    broken = not typed and row.k_credential != U64(0)
    if unnamed:  # who comes without a token is not guessing a password
        broken = customer or (not ok and wants_token(memory.doors, common, place))
    pair, bare = _pair(common, scope, key, name), _pair(common, scope, key, place)
    walks = unnamed and place != common.no_name
    return Attempt(i, scope, row.ts, ok, pair, bare, _fleet_of(row), walks, typed, broken, row.k_ip)


@kernel
def _fleet_of(row: Any) -> np.uint64:
    """The program and the project of who tries, as far as they are known."""
    if row.k_user_agent == U64(0) or row.k_project == U64(0):
        return U64(row.k_user_agent | row.k_project)
    return mix(row.k_project, row.k_user_agent)


@kernel(inline=True)
def _matters(
    rows: npt.NDArray[np.void],
    at: int,
    new: bool,
    site: Any,
    common: Any,
    seen: npt.NDArray[np.uint64],
    good: npt.NDArray[np.uint64],
    scope: int,
    key: np.uint64,
    name: np.uint64,
    ok: bool,
    t: float,
) -> bool:
    """Whether the key's row learns of it: not so for most rows of most sites, a known pair's success on a calm key."""
    if at < 0:
        if ok:
            _pass_by(site, common, seen, good, _pair(common, scope, key, name))
        return False
    row = rows[at]
    site.rows += 1
    if new:
        clear(row, t)
    return not (ok and row.fails == 0.0 and holds(good, common.good_now, _pair(common, scope, key, name)))


@kernel
def _pass_by(
    site: Any, common: Any, seen: npt.NDArray[np.uint64], good: npt.NDArray[np.uint64], pair: np.uint64
) -> None:
    """A success of a key that waits for a row: the pair is good from now on, and the site learns as of any calm key.

    Else a full table would leave out those who come once, and the site would seem more forgetful than it is.
    """
    site.rows += 1
    if holds(good, common.good_now, pair):
        return
    add_pair(good, common.good_now, pair)
    common.good_added += 1
    if not holds(seen, common.seen_now, pair):
        site.contacts += 1.0
        site.ok += 1.0


@kernel(inline=True)
def _pair(common: Any, scope: int, key: np.uint64, name: np.uint64) -> np.uint64:
    return mix(U64(key ^ common.salts[scope]), name)


@kernel
def _step(
    row: Any, site: Any, memory: Memory, common: Any, found: npt.NDArray[np.void], n: int, attempt: Attempt
) -> tuple[int, bool, bool]:
    """One row for one scope: the new number of findings, whether the key is accused of this failure, and suspicious."""
    t, seen, good = attempt.t, memory.seen, memory.good
    known = holds(good, common.good_now, attempt.pair)
    weight = age(row, t, site.threshold)
    if attempt.ok:
        reason, nats = success(row, site, common, seen, good, attempt, known, weight)
    else:
        reason, nats = failure(row, site, common, seen, attempt, known, known or attempt.broken, weight)
    if reason != NOTHING and worth_telling(row, reason, attempt, memory.fleets, common.refresh_s):
        write(found[n], reason, nats, row, site, common, attempt)
        n += 1
    accused = row.told_rank >= 2 and (row.w >= threshold_of(row, site) or t - row.told_at < common.refresh_s)
    return n, accused and not attempt.ok, accused or row.w >= 0.5 * site.first
