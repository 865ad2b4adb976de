"""The loop over rows: who tried which name from where, how it ended, and what that says about the source.

Three tests run on each key, in nats of -ln p under "this source is benign":

*first contacts* (stuffing, spraying, distributed cracking): the outcome of each new (key, name) pair is a step of a
sequential probability ratio test between a benign source (success ratio theta0, the site's own) and an attacker
(THETA1), in CUSUM form: W never falls below 0, so old successes buy nothing, and repeats of a pair count for nothing.
Under theta0 the mean number of first contacts between two false alarms is at least exp(threshold) (Lorden 1971).

*runs* (cracking): failures on one name without a success between. People mistype, and some more than others: the
chance of success at a try is Beta(PEOPLE_A, PEOPLE_B) over people, so a run of k failures has a polynomial tail.

*plain limits*: counts a minute and in ten minutes, which nothing can move.

All Numba code of this detector is in this one file: the disk cache of a kernel watches only its own file.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from gatewatch.sdk import find_or_admit, hold, kernel, mix

from .layout import CLOCK, SITE, Columns, Memory, Out, Pairs, Side, Tuning

IP, NETWORK, ACCOUNT = 0, 1, 2
NOTHING, STUFFING, SPRAYING, CRACKING, DISTRIBUTED, TAKEOVER, BROKEN, TOO_MANY_FAILURES, TOO_MANY_ACCOUNTS = range(9)

THETA1 = 0.05  # an attacker's success ratio: lists sold as fresh reach 1-2 %, the rest is margin
PRIOR_THETA0 = 0.8  # of a site not known yet (Jung et al. 2004), worth PRIOR_CONTACTS first contacts
PRIOR_CONTACTS = 20.0
LOWEST_THETA0, HIGHEST_THETA0 = 0.7, 0.92  # attack or outage cannot teach lower; above, four failures would do
NAT_ACCOUNTS = 5.0  # successes on so many accounts make a source a shared one, with a ratio of its own
NAT_CONTACTS = 8.0  # first contacts' worth of the site in that ratio
NAT_LOWEST = 0.5  # however forgetful its users
LEAST_NAMES = 5  # distinct names failed on, before a source attacks "many" (Elastic's single-source spray rule)
ONE_NAME = 0.7  # share of the tries on one name, above which many names are only its by-catch
LEAST_ADDRESSES = 3  # of a network: one address is reported as itself
PEOPLE_A, PEOPLE_B = 8.0, 2.0  # mean .8 as above; 11 failures in a row are 1 in 14,000, 20 are 1 in 470,000
LEAST_NATS = math.log(0.99 / 1e-4)  # Wald's bound for alpha 1e-4, beta .99
MOST_NATS = 14.0  # one false alarm in 1.2 million first contacts; else a flood of sources would blind the test
MINUTE_S, TEN_MINUTES_S, DAY_S, WEEK_S = 60.0, 600.0, 86400.0, 604800.0
TICK_S = 10.0
PAUSE_S = 600.0  # after such a pause W falls to CAP times the threshold: a source is not accused for days
CAP = 2.0
FORGOTTEN = 0.5  # nats, or tries: less than one third of a failure is left of an old one
GROWTH = 1.5  # news: half as many failures again as last told

U64 = np.uint64
U32 = np.uint32


@kernel
def scan(columns: Columns, memory: Memory, tuning: Tuning, out: Out) -> None:
    """Score each row of a batch, then learn from it. Cost: .1 us a row where 2 % authenticate."""
    for i in range(columns.ts.shape[0]):
        auth = columns.auth[i]
        if (auth != 1 and auth != 2) or columns.blocked[i] == 1 or not np.isfinite(columns.ts[i]):
            continue
        _advance(memory, tuning, columns.ts[i])
        role = columns.role[i]
        if role & 2 and columns.ip[i] != U64(0):
            accused = _row_of_side(IP, memory.ip, i, columns, memory, tuning, out)
            # Only addresses that are not accused themselves speak for their network.
            if tuning.flags & 2 and not accused and columns.network[i] != U64(0):
                _row_of_side(NETWORK, memory.network, i, columns, memory, tuning, out)
        if role & 1 and tuning.flags & 4 and columns.account[i] != U64(0):
            _row_of_side(ACCOUNT, memory.account, i, columns, memory, tuning, out)


@kernel
def _row_of_side(scope: int, side: Side, i: int, columns: Columns, memory: Memory, tuning: Tuning, out: Out) -> bool:
    """One row for one scope; whether its key stands accused after it."""
    t = columns.ts[i]
    ok = columns.auth[i] == 1
    key, name = _key_and_name(scope, i, columns, memory.salts)
    at, new = find_or_admit(side.head, key, t, ok, False)
    side.site[0].rows += 1
    if at < 0:
        return False
    row = side.rows[at]
    if new:
        _clear(row, t)
    pair = mix(U64(key ^ memory.salts[scope]), name)
    known = _holds(memory.good, pair)
    if ok and known and row.fails == 0.0:
        return False  # most rows of most sites: nothing to learn
    weight = _age(row, t, side.site[0].threshold)
    if ok:
        reason, nats = _success(row, side.site[0], memory, pair, known, weight, t, scope)
    else:
        customer = side.head.success[at] > t - WEEK_S
        broken = known or _is_secret(scope, i, columns) or (name == memory.salts[3] and customer)
        run = _run(row, _fingerprint(pair), broken, weight, t) if scope != ACCOUNT else 0.0
        _count(row, weight)
        if not known:
            _try(row, side.site[0], memory.seen, pair, weight, t)
            if scope == NETWORK and row.n_addresses < row.addresses.shape[0]:
                row.n_addresses = _note(row.addresses, row.n_addresses, _fingerprint(columns.ip[i]))
        reason, nats = _judge(row, side.site[0], scope, run, known, broken, tuning)
    if reason != NOTHING and _worth_telling(row, reason, t, tuning.refresh_s):
        _write(out, i, scope, reason, nats, row, pair, side.site[0], t, tuning)
    accused = row.told_rank >= 2 and (row.w >= side.site[0].threshold or t - row.told_at < tuning.refresh_s)
    hold(side.head, at, accused or row.w >= 0.5 * side.site[0].threshold)
    return accused and not ok


@kernel
def _key_and_name(
    scope: int, i: int, columns: Columns, salts: npt.NDArray[np.uint64]
) -> tuple[np.uint64, np.uint64]:
    """The key of the row, and what it was tried with: a name for sources, the source for an account."""
    if scope == ACCOUNT:
        source = columns.network[i] if columns.network[i] != U64(0) else columns.ip[i]
        return columns.account[i], source if source != U64(0) else salts[3]
    name = columns.account[i]
    if name == U64(0):
        name = columns.credential[i]
    if name == U64(0):
        name = columns.principal[i]
    if name == U64(0):
        name = salts[3]
    return columns.ip[i] if scope == IP else columns.network[i], name


@kernel
def _is_secret(scope: int, i: int, columns: Columns) -> bool:
    """The name is a credential: to repeat it is to send the same secret again, and guesses nothing."""
    return scope != ACCOUNT and columns.account[i] == U64(0) and columns.credential[i] != U64(0)


# --- one row of a table ---------------------------------------------------------------------------------------------


@kernel
def _clear(row: Any, t: float) -> None:
    row.t = t
    row.w = row.gain = row.credit = row.since = row.tries = row.bad_new = row.ok_new = 0.0
    row.ok_day = row.bad_day = row.minute = row.ten_minutes = 0.0
    row.fails = row.told_at = row.told_n = row.taken = row.taken_at = row.taken_told = 0.0
    row.told_rank = row.n_exact = row.n_addresses = 0
    row.slot[:] = 0
    row.streak[:] = 0.0


@kernel
def _age(row: Any, t: float, threshold: float) -> float:
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
    row.w *= f
    if 0.0 < row.w < FORGOTTEN:
        _fold(row)
    row.minute *= math.exp(-gap / MINUTE_S)
    row.ten_minutes *= math.exp(-gap / TEN_MINUTES_S)
    for j in range(row.slot.shape[0]):
        row.streak[j] *= f
        if row.streak[j] < FORGOTTEN:
            row.slot[j] = U32(0)
    return 1.0


@kernel
def _success(
    row: Any, site: Any, memory: Memory, pair: np.uint64, known: bool, weight: float, t: float, scope: int
) -> tuple[int, float]:
    """A try that succeeded: the pair is good from now on. On an accused key, by a new pair, it is a takeover."""
    nats = 0.0
    if not known and row.told_rank >= 2 and t - row.told_at < DAY_S:
        nats = _evidence(row, scope)
    taken = nats >= site.threshold
    if taken:
        row.taken += 1.0
    if not known:
        _add(memory.good, pair)
        if not _holds(memory.seen, pair):  # else its first outcome was a failure, and that one counts
            _first_contact(row, site, True, weight)
    if row.fails > 0.0:
        _end_run(row, _fingerprint(pair))
    return (TAKEOVER, nats) if taken else (NOTHING, 0.0)


@kernel
def _count(row: Any, weight: float) -> None:
    """For the limits: every failure, whoever failed."""
    row.fails += 1.0
    row.minute += np.float32(weight ** (DAY_S / MINUTE_S))


@kernel
def _try(row: Any, site: Any, seen: Pairs, pair: np.uint64, weight: float, t: float) -> None:
    """A failure by a pair that has never succeeded: a step of the first-contact test, if it is the pair's first."""
    first = not _holds(seen, pair)
    if first:
        _add(seen, pair)
        if row.w <= 0.0:
            _begin(row, t)
        n = row.n_exact
        if n < row.exact.shape[0]:
            row.n_exact = _note(row.exact, n, _fingerprint(pair))
            first = row.n_exact > n  # the pair memory forgets, the exact set does not
    row.tries += 1.0
    if first:
        row.ten_minutes += np.float32(weight ** (DAY_S / TEN_MINUTES_S))
        _first_contact(row, site, False, weight)


@kernel
def _judge(
    row: Any, site: Any, scope: int, run: float, known: bool, broken: bool, tuning: Tuning
) -> tuple[int, float]:
    """The reason and the nats of the test that is over its threshold; limits only where none is.

    A known pair that fails says nothing about an attack, so it does not tell of one again.
    """
    if scope == NETWORK and row.n_addresses < LEAST_ADDRESSES:
        return NOTHING, 0.0
    many = _many_nats(row) if not known else 0.0
    one = _one_nats(row, run) if scope != ACCOUNT else 0.0
    if many >= site.threshold:
        if scope == ACCOUNT:
            return DISTRIBUTED, many
        longest = _longest(row)
        if row.streak[longest] > ONE_NAME * row.tries and _one_nats(row, row.streak[longest]) >= site.threshold:
            return CRACKING, _one_nats(row, row.streak[longest])
        return (STUFFING if row.tries <= 2.0 * row.bad_new else SPRAYING), many
    if one >= site.threshold:
        if not broken:
            return CRACKING, _one_nats(row, row.streak[_longest(row)])
        if run >= tuning.broken_client_failures:
            return BROKEN, one
    if row.minute > tuning.failures_per_minute:
        return TOO_MANY_FAILURES, row.w
    if row.ten_minutes > tuning.accounts_per_10min:
        return TOO_MANY_ACCOUNTS, row.w
    return NOTHING, 0.0


@kernel
def _many_nats(row: Any) -> float:
    """What the first-contact test says, once there are enough names."""
    return float(row.w) if row.n_exact >= LEAST_NAMES else 0.0


@kernel
def _one_nats(row: Any, run: float) -> float:
    """What a run says. Where many accounts succeed, each of their people may be the one who forgot."""
    return float(run_nats(run) - math.log(max(1.0, row.ok_day)))


@kernel
def _longest(row: Any) -> int:
    """Slot of the longest run that is no broken client's."""
    best = 0
    longest = -1.0
    for j in range(row.slot.shape[0]):
        if row.slot[j] != U32(0) and row.slot_broken[j] == 0 and row.streak[j] > longest:
            best, longest = j, row.streak[j]
    return best


@kernel
def _evidence(row: Any, scope: int) -> float:
    """What stands against the key now, whatever the last row was."""
    nats = _many_nats(row)
    longest = _longest(row)
    if scope != ACCOUNT and row.slot[longest] != U32(0) and row.slot_broken[longest] == 0:
        nats = max(nats, _one_nats(row, row.streak[longest]))
    return nats


# --- the first-contact test -----------------------------------------------------------------------------------------


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
def _first_contact(row: Any, site: Any, ok: bool, weight: float) -> None:
    """One step of the test; the site learns from keys that are not suspect."""
    teaches = row.w < 0.5 * site.threshold
    theta0 = theta0_of(row, site.theta0)
    if ok:
        fall = min(row.w, weight * math.log(theta0 / THETA1))
        row.w -= fall
        row.credit += fall
        row.ok_new += 1.0
        if row.w <= 0.0:
            _fold(row)
    else:
        rise = weight * math.log((1.0 - THETA1) / (1.0 - theta0))
        row.w += rise
        row.gain += rise
        row.bad_new += 1.0
    if teaches:
        site.contacts += 1.0
        if ok:
            site.ok += 1.0
        else:
            site.bad += 1.0


@kernel
def theta0_of(row: Any, site_theta0: float) -> float:
    """Success ratio of a benign source here: the site's, or for a shared one (NAT) its own, if that is lower."""
    if row.ok_day < NAT_ACCOUNTS:
        return float(site_theta0)
    own = (NAT_CONTACTS * site_theta0 + row.ok_day) / (NAT_CONTACTS + row.ok_day + row.bad_day)
    return float(min(site_theta0, max(NAT_LOWEST, own)))


# --- runs of failures on one name -----------------------------------------------------------------------------------


@kernel
def run_nats(k: float) -> float:
    """-ln P(a person fails k times in a row): the survival function of the beta-geometric distribution."""
    a, b = PEOPLE_A, PEOPLE_B
    return float(math.lgamma(a + b + k) - math.lgamma(a + b) - math.lgamma(b + k) + math.lgamma(b))


@kernel
def _run(row: Any, fingerprint: np.uint32, broken: bool, weight: float, t: float) -> float:
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
        row.told_n = 0.0
        row.told_rank = 0


# --- the site and its clock -----------------------------------------------------------------------------------------


@kernel
def _advance(memory: Memory, tuning: Tuning, t: float) -> None:
    """Event time goes on; at each 10 s tick the site's numbers are renewed and old pairs forgotten."""
    clock = memory.clock[0]
    if t <= clock.now:
        return
    clock.now = t
    tick = np.floor(t / TICK_S)
    if tick > clock.tick:
        gap = (tick - clock.tick) * TICK_S
        clock.tick = tick
        _renew(memory.ip.site[0], gap, tuning)
        _renew(memory.network.site[0], gap, tuning)
        _renew(memory.account.site[0], gap, tuning)
        _turn(memory.seen, t)
        _turn(memory.good, t)


@kernel
def _renew(site: Any, gap: float, tuning: Tuning) -> None:
    f = math.exp(-gap / WEEK_S)
    site.ok *= f
    site.bad *= f
    site.contacts *= math.exp(-gap / DAY_S)
    ratio = (site.ok + PRIOR_THETA0 * PRIOR_CONTACTS) / (site.ok + site.bad + PRIOR_CONTACTS)
    site.theta0 = min(HIGHEST_THETA0, max(LOWEST_THETA0, ratio))
    # 2: two learned tests share a scope's alarms
    wanted = math.log(max(1.0, 2.0 * site.contacts / tuning.alarms_per_day))
    site.threshold = min(MOST_NATS, max(LEAST_NATS, wanted))


# --- pairs ----------------------------------------------------------------------------------------------------------


@kernel
def _fingerprint(pair: np.uint64) -> np.uint32:
    """32 bits of a pair, never 0: a free slot is 0."""
    return U32((pair >> U64(32)) | U64(1))


@kernel
def _note(found: npt.NDArray[np.uint32], n: int, fingerprint: np.uint32) -> int:
    for j in range(n):
        if found[j] == fingerprint:
            return n
    found[n] = fingerprint
    return n + 1


@kernel
def _block(pairs: Pairs, pair: np.uint64) -> int:
    return int((pair >> U64(36)) % U64(pairs.bits.shape[1] // 8)) * 8


@kernel
def _has(bits: npt.NDArray[np.uint64], block: int, pair: np.uint64) -> bool:
    for j in range(4):
        nine = (pair >> U64(9 * j)) & U64(511)
        if not (bits[block + int(nine >> U64(6))] >> (nine & U64(63))) & U64(1):
            return False
    return True


@kernel
def _holds(pairs: Pairs, pair: np.uint64) -> bool:
    """The pair was added lately; wrongly so for about 1 in 300 at full load."""
    block = _block(pairs, pair)
    current = pairs.state[0]
    return _has(pairs.bits[current], block, pair) or _has(pairs.bits[1 - current], block, pair)


@kernel
def _add(pairs: Pairs, pair: np.uint64) -> None:
    block = _block(pairs, pair)
    bits = pairs.bits[pairs.state[0]]
    for j in range(4):
        nine = (pair >> U64(9 * j)) & U64(511)
        bits[block + int(nine >> U64(6))] |= U64(1) << (nine & U64(63))
    pairs.state[1] += 1


@kernel
def _turn(pairs: Pairs, t: float) -> None:
    """Drop the older generation once the current one has lasted, or is full (4 words hold 16 pairs of 16 bits)."""
    old = t - pairs.since[0] >= pairs.since[1]
    if old or pairs.state[1] > 4 * pairs.bits.shape[1]:
        pairs.state[0] = 1 - pairs.state[0]
        pairs.bits[pairs.state[0]][:] = U64(0)
        pairs.state[1] = 0
        pairs.state[2] += 1
        pairs.since[0] = t


# --- what is told ---------------------------------------------------------------------------------------------------


@kernel
def _rank(reason: int) -> int:
    """1 for what a broken client may do too, 2 for an attack on one account, 3 on many or by many."""
    if reason >= BROKEN:
        return 1
    return 2 if reason == CRACKING else 3


@kernel
def _worth_telling(row: Any, reason: int, t: float, refresh_s: float) -> bool:
    """The first finding, a graver one, half as many failures again, or five minutes later."""
    if reason == TAKEOVER:
        if row.taken_told > 0.0 and row.taken < GROWTH * row.taken_told and t - row.taken_at < refresh_s:
            return False
        row.taken_told = row.taken
        row.taken_at = t
        return True
    rank = _rank(reason)
    if rank <= row.told_rank and row.fails < GROWTH * row.told_n and t - row.told_at < refresh_s:
        return False
    row.told_rank = max(rank, row.told_rank) if t - row.told_at < DAY_S else rank
    row.told_at = max(t, row.told_at)
    row.told_n = row.fails
    return True


@kernel
def _write(
    out: Out,
    i: int,
    scope: int,
    reason: int,
    nats: float,
    row: Any,
    pair: np.uint64,
    site: Any,
    t: float,
    tuning: Tuning,
) -> None:
    at = out.count[0]
    out.count[0] = at + 1
    out.row[at], out.scope[at], out.reason[at], out.nats[at] = i, scope, reason, nats
    out.threshold[at] = site.threshold if reason < TOO_MANY_FAILURES else 0.0
    out.warm[at] = 1
    out.since[at] = row.since
    out.detail[at, :] = 0.0
    contacts = row.bad_new + row.ok_new
    if reason in (STUFFING, SPRAYING, DISTRIBUTED):
        _numbers(out, at, row.bad_new, (1.0 - site.theta0) * contacts, t - row.since)
        for j, value in enumerate((row.bad_new, row.tries, row.ok_new, row.gain, row.credit, theta0_of(row, site.theta0))):
            out.detail[at, j] = value
    elif reason in (CRACKING, BROKEN):
        slot = _slot_of(row, _fingerprint(pair)) if reason == BROKEN else _longest(row)
        out.since[at] = row.slot_since[slot]
        _numbers(out, at, row.streak[slot], PEOPLE_B / (PEOPLE_A - 1.0), t - row.slot_since[slot])
        out.detail[at, 0] = row.streak[slot]
        out.detail[at, 1] = max(1.0, row.ok_day)
    elif reason == TAKEOVER:
        _numbers(out, at, row.taken, 0.0, t - row.since)
        out.detail[at, 0], out.detail[at, 1], out.detail[at, 2] = row.taken, row.bad_new, row.fails
    elif reason == TOO_MANY_FAILURES:
        out.since[at] = t - MINUTE_S
        _numbers(out, at, row.minute, tuning.failures_per_minute, MINUTE_S)
    else:
        out.since[at] = t - TEN_MINUTES_S
        _numbers(out, at, row.ten_minutes, tuning.accounts_per_10min, TEN_MINUTES_S)


@kernel
def _numbers(out: Out, at: int, observed: float, expected: float, window_s: float) -> None:
    out.observed[at], out.expected[at], out.window_s[at] = observed, expected, max(0.0, window_s)


@kernel
def _slot_of(row: Any, fingerprint: np.uint32) -> int:
    for j in range(row.slot.shape[0]):
        if row.slot[j] == fingerprint:
            return j
    return 0


def new_site(scopes: int) -> npt.NDArray[np.void]:
    """What is assumed of a site before anything is known."""
    site = np.zeros(scopes, SITE)
    site["theta0"], site["threshold"] = PRIOR_THETA0, LEAST_NATS
    return site


def new_clock() -> npt.NDArray[np.void]:
    """Event time before the first row."""
    clock = np.zeros(1, CLOCK)
    clock["now"] = clock["tick"] = -np.inf
    return clock
