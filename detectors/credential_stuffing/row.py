"""One key: its first-contact test, its runs of failures, and what they say together."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from gatewatch.sdk import add_pair, kernel

from .constants import (
    ACCOUNT,
    AT_ONCE,
    BROKEN,
    CAP,
    CRACKING,
    DAY_S,
    DISTRIBUTED,
    FORGOTTEN,
    IP,
    LEAK_S,
    LEAST_ADDRESSES,
    LEAST_NAMES,
    MINUTE_S,
    NAT_ACCOUNTS,
    NAT_CONTACTS,
    NAT_LOWEST,
    NAT_TAU_S,
    NETWORK,
    NOTHING,
    ONE_NAME,
    PAUSE_S,
    PEOPLE_A,
    PEOPLE_B,
    SHORT_RUN,
    SPRAYING,
    STUFFING,
    TAKEOVER,
    TEN_MINUTES_S,
    THETA1,
    TOO_MANY_ACCOUNTS,
    TOO_MANY_FAILURES,
)
from .layout import Attempt
from .pairs import fingerprint, holds, note

U32 = np.uint32
Bits = npt.NDArray[np.uint64]


@kernel
def clear(row: Any, t: float) -> None:
    """A new key."""
    row.t = t
    row.w = row.gain = row.credit = row.since = row.tries = row.bad_new = row.ok_new = 0.0
    row.ok_day = row.bad_day = row.minute = row.ten_minutes = row.at_once = 0.0
    row.fails = row.told_at = row.told_n = row.taken = row.taken_at = row.taken_told = 0.0
    row.told_rank = row.n_exact = row.n_addresses = row.pending = 0
    row.slot[:] = 0
    row.streak[:] = 0.0


@kernel
def age(row: Any, t: float, threshold: float) -> float:
    """Let the row grow older up to ``t``. Returns what an event at ``t`` weighs in it: less than 1 if it comes late."""
    gap = t - row.t
    if gap <= 0.0:
        return float(math.exp(gap / DAY_S))
    row.t = t
    f = math.exp(-gap / DAY_S)
    row.ok_day *= f
    row.bad_day *= f
    if row.fails == 0.0:
        return 1.0
    if gap > PAUSE_S:
        row.w = min(row.w, CAP * threshold)
    row.w *= f if row.ok_day < NAT_ACCOUNTS else math.exp(-gap / NAT_TAU_S)
    if 0.0 < row.w < FORGOTTEN:
        _fold(row)
    row.minute *= math.exp(-gap / MINUTE_S)
    row.at_once = max(np.float32(0.0), row.at_once - np.float32(gap / LEAK_S))
    row.ten_minutes *= math.exp(-gap / TEN_MINUTES_S)
    for j in range(row.slot.shape[0]):
        row.streak[j] *= f
        if row.streak[j] < FORGOTTEN:
            row.slot[j] = U32(0)
    return 1.0


@kernel
def _weight_in(span_s: float, weight: float) -> float:
    """A weight over a day as one over a shorter span; nearly all rows come in time and weigh 1."""
    return weight if weight == 1.0 else float(weight ** (DAY_S / span_s))


@kernel
def success(
    row: Any, site: Any, common: Any, seen: Bits, good: Bits, attempt: Attempt, known: bool, weight: float
) -> tuple[int, float]:
    """A try that succeeded: the pair is good from now on. On an accused key, by a new pair, it is a takeover."""
    nats = 0.0
    if not known and row.told_rank >= 2 and attempt.t - row.told_at < DAY_S:
        nats = _evidence(row, site, attempt.scope)
    taken = nats > 0.0
    if taken:
        row.taken += 1.0
    if row.pending == 1:
        _learn_failure(row, site)
    if not known:
        add_pair(good, common.good_now, attempt.pair)
        common.good_added += 1
        if not holds(seen, common.seen_now, attempt.pair):  # else its first outcome was a failure, and that one counts
            _first_success(row, site, weight)
    if row.fails > 0.0:
        _end_run(row, fingerprint(attempt.pair))
        if attempt.bare != attempt.pair:  # first without a token, then with one
            _end_run(row, fingerprint(attempt.bare))
    return (TAKEOVER, nats) if taken else (NOTHING, 0.0)


@kernel
def failure(
    row: Any, site: Any, common: Any, seen: Bits, attempt: Attempt, known: bool, broken: bool, weight: float
) -> tuple[int, float]:
    """A try that failed: feed the three tests, and say which of them is over its threshold."""
    row.fails += 1.0
    run = 0.0
    if attempt.scope != ACCOUNT:
        run = _lengthen_run(row, fingerprint(attempt.pair), broken, weight, attempt.t)
    if run > 1.0 or not attempt.walks:
        row.minute += np.float32(_weight_in(MINUTE_S, weight))
    if not known and not attempt.walks:
        first = not holds(seen, common.seen_now, attempt.pair)
        if first:
            add_pair(seen, common.seen_now, attempt.pair)
            common.seen_added += 1
        _try(row, site, attempt.pair, first, weight, attempt.t)
        if attempt.scope == IP and attempt.typed and row.ok_day < NAT_ACCOUNTS and row.ok_new == 0.0:
            row.at_once += np.float32(max(0.0, 1.0 + (attempt.t - row.t) / LEAK_S))  # less where it comes late
    if not known and attempt.scope == NETWORK and row.n_addresses < row.addresses.shape[0]:
        row.n_addresses = note(row.addresses, row.n_addresses, fingerprint(attempt.address))
    reason, nats = judge(row, site, attempt.scope, run, known, broken, common.broken_client_failures)
    if reason == NOTHING and (attempt.scope != NETWORK or row.n_addresses >= LEAST_ADDRESSES):
        return _limits(row, common), row.w
    return reason, nats


@kernel
def _limits(row: Any, common: Any) -> int:
    """The plain limit that is passed, or NOTHING."""
    if row.minute > common.failures_per_minute:
        return TOO_MANY_FAILURES
    if row.ten_minutes > common.accounts_per_10min:
        return TOO_MANY_ACCOUNTS
    return AT_ONCE if row.at_once > common.failures_at_once else NOTHING


@kernel
def _try(row: Any, site: Any, pair: np.uint64, first: bool, weight: float, t: float) -> None:
    """A failure by a pair that has never succeeded: a step of the first-contact test, if it is the pair's first."""
    if first:
        if row.w <= 0.0:
            _begin(row, t)
        n = row.n_exact
        if n < row.exact.shape[0]:
            row.n_exact = note(row.exact, n, fingerprint(pair))
            first = row.n_exact > n  # the pair memory forgets, the exact set does not
    row.tries += 1.0
    if first:
        row.ten_minutes += np.float32(_weight_in(TEN_MINUTES_S, weight))
        _first_failure(row, site, weight)


@kernel
def judge(
    row: Any, site: Any, scope: int, run: float, known: bool, broken: bool, broken_client_failures: float
) -> tuple[int, float]:
    """The reason and the nats of the test that is over its threshold.

    A known pair that fails says nothing about an attack, so it does not tell of one again.
    """
    reason, nats = NOTHING, 0.0
    if scope == NETWORK and row.n_addresses < LEAST_ADDRESSES:
        return reason, nats
    one = one_nats(row, run) if scope != ACCOUNT else 0.0
    if not known and _many_nats(row) >= threshold_of(row, site):
        main = float(row.streak[longest(row)])  # 0 for accounts
        nats = _many_nats(row)
        if scope == ACCOUNT:
            reason = DISTRIBUTED
        elif main > ONE_NAME * row.tries and one_nats(row, main) >= site.threshold:
            reason, nats = CRACKING, one_nats(row, main)
        else:
            reason = STUFFING if row.tries <= 2.0 * row.bad_new else SPRAYING
    elif one >= site.threshold and not broken:
        reason, nats = CRACKING, one_nats(row, row.streak[longest(row)])
    elif one >= site.threshold and run >= broken_client_failures:
        reason, nats = BROKEN, one
    return reason, nats


@kernel
def _many_nats(row: Any) -> float:
    """What the first-contact test says, once there are enough names."""
    return float(row.w) if row.n_exact >= LEAST_NAMES else 0.0


@kernel
def one_nats(row: Any, run: float) -> float:
    """What a run says. Where many accounts succeed, each of their people may be the one who forgot."""
    if run < SHORT_RUN:
        return 0.0
    return float(run_nats(run) - math.log(max(1.0, row.ok_day)))


@kernel
def longest(row: Any) -> int:
    """Slot of the longest run that is no broken client's."""
    best = 0
    length = np.float32(-1.0)
    for j in range(row.slot.shape[0]):
        if row.slot[j] != U32(0) and row.slot_broken[j] == 0 and row.streak[j] > length:
            best, length = j, row.streak[j]
    return best


@kernel
def _evidence(row: Any, site: Any, scope: int) -> float:
    """What stands against the key now, whatever the last row was; 0 where no test is over its threshold."""
    many = _many_nats(row)
    j = longest(row)
    one = 0.0
    if scope != ACCOUNT and row.slot[j] != U32(0) and row.slot_broken[j] == 0:
        one = one_nats(row, row.streak[j])
    return max(many, one) if many >= threshold_of(row, site) or one >= site.threshold else 0.0


@kernel
def threshold_of(row: Any, site: Any) -> float:
    """Nats that the first-contact test asks for. A shared source has a theta0 of its own, so its nats are just that."""
    return float(site.first if row.ok_day < NAT_ACCOUNTS else site.threshold)


# --- the first-contact test ------------------------------------------------------------------------------------------


@kernel
def _begin(row: Any, t: float) -> None:
    """A new excursion. What the last one saw becomes history: only then may it say what is normal here."""
    _fold(row)
    row.since = t


@kernel
def _fold(row: Any) -> None:
    row.ok_day += np.float32(row.ok_new)
    row.bad_day += np.float32(row.bad_new)
    row.w = row.gain = row.credit = row.tries = row.bad_new = row.ok_new = 0.0
    row.n_exact = row.n_addresses = 0


@kernel
def _first_success(row: Any, site: Any, weight: float) -> None:
    """One step down. The site learns from it if W was 0: see :func:`_first_failure`."""
    if row.w <= 0.0:
        site.contacts += 1.0
        site.ok += 1.0
    fall = min(row.w, weight * math.log(theta0_of(row, site.theta0) / THETA1))
    row.w -= fall
    row.credit += fall
    row.ok_new += 1.0
    if row.w <= 0.0:
        _fold(row)


@kernel
def _first_failure(row: Any, site: Any, weight: float) -> None:
    """One step up.

    The site learns from it only if W was 0: that depends on the past alone, so the sample is fair. And only once the
    source succeeds: successes are people's (Herley and Schechter 2019), so those who only ever fail teach nothing,
    however many they are.
    """
    if row.w <= 0.0:
        row.pending = 1
    rise = weight * math.log((1.0 - THETA1) / (1.0 - theta0_of(row, site.theta0)))
    row.w += rise
    row.gain += rise
    row.bad_new += 1.0


@kernel
def _learn_failure(row: Any, site: Any) -> None:
    row.pending = 0
    site.contacts += 1.0
    site.bad += 1.0


@kernel
def theta0_of(row: Any, site_theta0: float) -> float:
    """Success ratio of a benign source here: the site's, or for a shared one (NAT) its own, if that is lower."""
    if row.ok_day < NAT_ACCOUNTS:
        return float(site_theta0)
    own = (NAT_CONTACTS * site_theta0 + row.ok_day) / (NAT_CONTACTS + row.ok_day + row.bad_day)
    return float(min(site_theta0, max(NAT_LOWEST, own)))


# --- runs of failures on one name ------------------------------------------------------------------------------------


@kernel
def run_nats(k: float) -> float:
    """-ln P(a person fails k times in a row): the survival function of the beta-geometric distribution."""
    both = PEOPLE_A + PEOPLE_B
    return float(math.lgamma(both + k) - math.lgamma(both) - math.lgamma(PEOPLE_B + k) + math.lgamma(PEOPLE_B))


@kernel
def _lengthen_run(row: Any, fingerprint: np.uint32, broken: bool, weight: float, t: float) -> float:
    """Length of the run on this name with this failure; a new name takes a free slot or that of the shortest run."""
    shortest = 0
    for j in range(row.slot.shape[0]):
        if row.slot[j] == fingerprint:
            row.streak[j] += np.float32(weight)
            row.slot_broken[j] = 1 if broken else 0
            return float(row.streak[j])
        if row.slot[j] == U32(0):
            row.streak[j] = np.float32(0.0)
        if row.streak[j] < row.streak[shortest]:
            shortest = j
    row.slot[shortest] = fingerprint
    row.streak[shortest] = np.float32(weight)
    row.slot_since[shortest] = t
    row.slot_broken[shortest] = 1 if broken else 0
    return weight


@kernel
def _end_run(row: Any, fingerprint: np.uint32) -> None:
    """A success ends the run on its name; with the last run and W at 0 the row is calm."""
    free = True
    for j in range(row.slot.shape[0]):
        if row.slot[j] == fingerprint:
            row.slot[j] = U32(0)
        free &= row.slot[j] == U32(0)
    if free and row.w <= 0.0:
        row.fails = 0.0
        row.n_addresses = 0
        row.at_once = 0.0
        row.told_n = 0.0
        row.told_rank = 0
