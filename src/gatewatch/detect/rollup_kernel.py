"""Adds rows up per coarse key and bucket: the loop behind :mod:`gatewatch.detect.rollups`.

Each event is counted once, as its where row (ingest gives every event one). The clock moves row by row,
so the sums do not depend on how rows are cut into batches.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gatewatch.events.batch import AuthCode, Role
from gatewatch.events.rollup import BINS, COUNTS, ENTROPY_STEP, SPAN_S, UNITS, WIDTH, Kind, bins_of
from gatewatch.state.hashing import mix
from gatewatch.state.jit import kernel
from gatewatch.state.keytable import STRIDE
from gatewatch.state.pairs import Pairs, ask_pair, meet, no_pairs

U64 = np.uint64
LATE_S = 5.0  # ingest reads its sources aligned within this (settings ingest.align): a bucket waits as long for rows
# Failed first contacts that count of one network in a week or two. What one source does is seen on its key, and must
# not look like a botnet; residential proxies give an address 1.2 tries (DataDome), a /24 seldom more than two or three.
VOICES = 3
_WHERE = int(Role.WHERE)
_SUCCESS, _FAILURE = int(AuthCode.SUCCESS), int(AuthCode.FAILURE)
_PROJECT, _ENDPOINT, _CLIENT = int(Kind.PROJECT), int(Kind.ENDPOINT), int(Kind.CLIENT)
_HOUR_S = 3600.0
_ROOT_OF_HALF = math.sqrt(0.5)

(REQUESTS, CLIENT_ERRORS, SERVER_ERRORS, DENIED, BLOCKED, SUCCESSES, FAILURES, FIRST_FAILURES, FIRST_SUCCESSES,
 UNKNOWN_FAILURES, ACCOUNT_HOURS, BYTES_IN, BYTES_OUT, TOKENS_IN, TOKENS_OUT, COST_USD, OUTPUTS,
 REFUSALS) = range(len(COUNTS))  # fmt: skip
_LATENCY_AT, _LATENCY_N = bins_of("latency_ms").start, BINS["latency_ms"]
_IN_AT, _IN_N = bins_of("bytes_in").start, BINS["bytes_in"]
_OUT_AT, _OUT_N = bins_of("bytes_out").start, BINS["bytes_out"]
_TOKENS_AT, _TOKENS_N = bins_of("tokens_out").start, BINS["tokens_out"]
_FINISH_AT = bins_of("finish").start
_CONFIDENCE_AT, _CONFIDENCE_N = bins_of("confidence").start, BINS["confidence"]
_ENTROPY_AT, _ENTROPY_N = bins_of("entropy").start, BINS["entropy"]
_TEMPLATE_AT, _TEMPLATE_N = bins_of("template").start, BINS["template"]
_PRINCIPAL_AT, _PRINCIPAL_N = bins_of("principal").start, BINS["principal"]
_VERSION_AT, _VERSION_N = bins_of("version").start, BINS["version"]
_BYTES_UNIT = UNITS["bytes_in"]
PER_ROW = 10  # histograms that one row may fill


class Columns(NamedTuple):
    """Views of a batch, all (rows,); ``finish`` and ``version`` are codes, -1 absent."""

    ts: npt.NDArray[np.float64]
    role: npt.NDArray[np.uint8]
    network: npt.NDArray[np.uint64]
    endpoint: npt.NDArray[np.uint64]
    model: npt.NDArray[np.uint64]
    project: npt.NDArray[np.uint64]
    user_agent: npt.NDArray[np.uint64]
    asn: npt.NDArray[np.int64]
    account: npt.NDArray[np.uint64]
    credential: npt.NDArray[np.uint64]
    principal: npt.NDArray[np.uint64]
    shape: npt.NDArray[np.uint64]
    status: npt.NDArray[np.int32]
    auth: npt.NDArray[np.int8]
    known: npt.NDArray[np.int8]
    denied: npt.NDArray[np.int8]
    blocked: npt.NDArray[np.int8]
    refusal: npt.NDArray[np.int8]
    latency_ms: npt.NDArray[np.float64]
    bytes_in: npt.NDArray[np.float64]
    bytes_out: npt.NDArray[np.float64]
    tokens_in: npt.NDArray[np.float64]
    tokens_out: npt.NDArray[np.float64]
    cost_usd: npt.NDArray[np.float64]
    confidence: npt.NDArray[np.float64]
    entropy: npt.NDArray[np.float64]
    finish: npt.NDArray[np.int16]
    version: npt.NDArray[np.int16]


class Sums(NamedTuple):
    """Entries of open buckets, and of closed ones until somebody takes them; a hash index over them.

    At most two buckets are open at a time (:data:`LATE_S` is less than a bucket).
    """

    places: npt.NDArray[np.int32]  # (2^k,) entry, or -1
    buckets: npt.NDArray[np.int64]  # (room,)
    kinds: npt.NDArray[np.uint8]
    keys: npt.NDArray[np.uint64]
    counts: npt.NDArray[np.float64]  # (room, len(COUNTS))
    bins: npt.NDArray[np.float32]  # (room, WIDTH)
    used: npt.NDArray[np.int64]  # (1,) entries
    of_kind: npt.NDArray[np.int64]  # (2, 1 + kinds) of an open bucket, by its number modulo 2: the number, its entries
    overflown: npt.NDArray[np.int64]  # (1,) rows that found no room under their coarse key; they count in ALL


class Seen(NamedTuple):
    """Which pairs have been met: two generations, the older forgotten in turn."""

    pairs: Pairs
    now: npt.NDArray[np.int64]  # (2,) the current generation, and how many pairs were added to it


class Scratch(NamedTuple):
    """Room for one row at a time, and the entry that each kind of key had last."""

    marks: npt.NDArray[np.int64]  # (PER_ROW,) bins that the row fills
    amounts: npt.NDArray[np.float64]  # (len(COUNTS),) what it adds to the counts
    buckets: npt.NDArray[np.int64]  # (kinds,)
    keys: npt.NDArray[np.uint64]  # (kinds,)
    entries: npt.NDArray[np.int64]  # (kinds,) -1 where there was none in this call


def scratch() -> Scratch:
    """Empty."""
    kinds = len(Kind)
    return Scratch(
        marks=np.zeros(PER_ROW, np.int64),
        amounts=np.zeros(len(COUNTS)),
        buckets=np.zeros(kinds, np.int64),
        keys=np.zeros(kinds, np.uint64),
        entries=np.full(kinds, -1, np.int64),
    )


def no_sums(room: int) -> Sums:
    """Without an entry, with room for so many; pages that are never touched cost nothing."""
    return Sums(
        places=np.full(1 << (2 * room - 1).bit_length(), -1, np.int32),
        buckets=np.zeros(room, np.int64),
        kinds=np.zeros(room, np.uint8),
        keys=np.zeros(room, np.uint64),
        counts=np.zeros((room, len(COUNTS)), np.float64),
        bins=np.zeros((room, WIDTH), np.float32),
        used=np.zeros(1, np.int64),
        of_kind=np.zeros((2, 1 + len(Kind)), np.int64),
        overflown=np.zeros(1, np.int64),
    )


def none_seen(pairs: int) -> Seen:
    """No pair met, with room for so many a generation."""
    return Seen(no_pairs(pairs), np.zeros(2, np.int64))


@kernel
def add_rows(
    rows: Columns, first: int, sums: Sums, seen: Seen, clock: npt.NDArray[np.float64],
    limits: npt.NDArray[np.int64], room: Scratch, fresh: npt.NDArray[np.int64],
) -> tuple[int, int]:  # fmt: skip
    """Add every row that counts to its coarse keys, from row ``first`` on, while there is room for four entries more.

    ``fresh`` (>= 4 * rows, 2) is filled with (entry, row) of entries that are new. ``clock`` (1,) is the newest event
    time seen. Returns the row to go on from, and how many entries are new. Cost: about .2 us a row.
    """
    # Helpers get numbers: a call would copy the 28 arrays of a row
    (
        ts, role, network, endpoint, model, project, user_agent, asn, account, credential, principal, shape, status,
        auth, known, denied, blocked, refusal, latency_ms, bytes_in, bytes_out, tokens_in, tokens_out, cost_usd,
        confidence, entropy, finish, version,
    ) = rows  # fmt: skip
    counts, bins, used, overflown = sums.counts, sums.bins, sums.used, sums.overflown
    marks, amounts = room.marks, room.amounts
    room.entries[:] = -1  # entries may have moved since the last call
    made = 0
    for i in range(first, ts.shape[0]):
        if used[0] + 4 > sums.keys.shape[0]:
            return i, made
        if i % STRIDE == 0:
            _ask_logins(rows, seen.pairs, i)
        clock[0] = max(clock[0], ts[i])
        if not role[i] & _WHERE:
            continue
        bucket = int(np.floor(max(ts[i], clock[0] - LATE_S) / SPAN_S))
        _outcome(amounts, status[i], denied[i], refusal[i], finish[i] >= 0 or not np.isnan(confidence[i]))
        _sizes(amounts, bytes_in[i], bytes_out[i], tokens_in[i], tokens_out[i], cost_usd[i])
        who = _who(account[i], credential[i], principal[i])
        _login(amounts, blocked[i], auth[i], known[i], who, network[i], ts[i], seen)
        filled = _octaves(marks, 0, latency_ms[i], _LATENCY_AT, _LATENCY_N, 1.0)
        filled = _octaves(marks, filled, bytes_in[i], _IN_AT, _IN_N, _BYTES_UNIT)
        filled = _octaves(marks, filled, bytes_out[i], _OUT_AT, _OUT_N, _BYTES_UNIT)
        filled = _octaves(marks, filled, tokens_out[i], _TOKENS_AT, _TOKENS_N, 1.0)
        filled = _steps(marks, filled, confidence[i], _CONFIDENCE_AT, _CONFIDENCE_N, 1.0 / _CONFIDENCE_N)
        filled = _steps(marks, filled, entropy[i], _ENTROPY_AT, _ENTROPY_N, ENTROPY_STEP)
        filled = _places(marks, filled, finish[i], shape[i], principal[i], version[i])
        for kind in range(4):
            key = _coarse(kind, project[i], endpoint[i], model[i], user_agent[i], asn[i])
            if kind > 0 and key == U64(0):
                continue
            entry, is_new = room.entries[kind], False
            if entry < 0 or room.keys[kind] != key or room.buckets[kind] != bucket:
                entry, is_new = _entry(sums, bucket, kind, key, limits[kind])
                room.entries[kind], room.keys[kind], room.buckets[kind] = entry, key, bucket
            if entry < 0:
                overflown[0] += 1
                continue
            if is_new:
                fresh[made, 0], fresh[made, 1] = entry, i
                made += 1
            _add(counts, bins, entry, amounts, marks, filled)
    return ts.shape[0], made


@kernel
def _ask_logins(rows: Columns, pairs: Pairs, i: int) -> None:
    """Have in the cache which of the next rows' logins are first contacts."""
    account, credential, principal, network = rows.account, rows.credential, rows.principal, rows.network
    for j in range(min(network.shape[0], i + STRIDE), min(network.shape[0], i + 2 * STRIDE)):
        ask_pair(pairs, mix(network[j], _who(account[j], credential[j], principal[j])))


@kernel
def _add(
    counts: npt.NDArray[np.float64], bins: npt.NDArray[np.float32], entry: int, amounts: npt.NDArray[np.float64],
    marks: npt.NDArray[np.int64], filled: int,
) -> None:  # fmt: skip
    """Add a row to an entry."""
    for c in range(len(COUNTS)):
        counts[entry, c] += amounts[c]
    for m in range(filled):
        bins[entry, marks[m]] += np.float32(1.0)


@kernel
def _coarse(
    kind: int, project: np.uint64, endpoint: np.uint64, model: np.uint64, user_agent: np.uint64, asn: np.int64
) -> np.uint64:
    """The row's key of that kind; 0 is none (and for ALL the only one)."""
    if kind == _PROJECT:
        return project
    if kind == _ENDPOINT and (endpoint != U64(0) or model != U64(0)):
        return mix(endpoint, model)
    if kind == _CLIENT and user_agent != U64(0):
        return mix(user_agent, U64(asn))
    return U64(0)


@kernel
def _outcome(out: npt.NDArray[np.float64], status: int, denied: int, refusal: int, said: bool) -> None:
    """What the row's end adds to the counts, which begin anew."""
    out[:] = 0.0
    out[REQUESTS] = 1.0
    out[CLIENT_ERRORS] = 1.0 if 400 <= status < 500 else 0.0
    out[SERVER_ERRORS] = 1.0 if status >= 500 else 0.0
    out[DENIED] = 1.0 if denied == 1 else 0.0
    out[OUTPUTS] = 1.0 if said or refusal >= 0 else 0.0
    out[REFUSALS] = 1.0 if refusal == 1 else 0.0


@kernel
def _sizes(
    out: npt.NDArray[np.float64], bytes_in: float, bytes_out: float, tokens_in: float, tokens_out: float, cost: float
) -> None:
    """What the row adds to the sums of sizes."""
    out[BYTES_IN], out[BYTES_OUT] = _or_zero(bytes_in), _or_zero(bytes_out)
    out[TOKENS_IN], out[TOKENS_OUT] = _or_zero(tokens_in), _or_zero(tokens_out)
    out[COST_USD] = _or_zero(cost)


@kernel
def _who(account: np.uint64, credential: np.uint64, principal: np.uint64) -> np.uint64:
    """Who logs in; 0 where nobody is named."""
    if account != U64(0):
        return account
    return credential if credential != U64(0) else principal


@kernel
def _login(
    out: npt.NDArray[np.float64],
    blocked: int,
    auth: int,
    known: int,
    who: np.uint64,
    network: np.uint64,
    ts: float,
    seen: Seen,
) -> None:
    """What the row adds to the counts of logins."""
    if blocked == 1:  # our own refusals are nobody's failure
        out[BLOCKED] = 1.0
        return
    if auth not in (_FAILURE, _SUCCESS):
        return
    first = who != U64(0) and _is_new(seen, mix(network, who))
    if auth == _FAILURE:
        out[FAILURES] = 1.0
        if first and _may_speak(seen, network):
            out[FIRST_FAILURES] = 1.0
            out[UNKNOWN_FAILURES] = 1.0 if known == 0 else 0.0
        return
    out[SUCCESSES] = 1.0
    out[FIRST_SUCCESSES] = 1.0 if first else 0.0
    hour = U64(np.int64(ts / _HOUR_S))
    out[ACCOUNT_HOURS] = 1.0 if who != U64(0) and _is_new(seen, mix(who, hour)) else 0.0


@kernel
def _may_speak(seen: Seen, network: np.uint64) -> bool:
    """Whether a network has had fewer than :data:`VOICES` failed first contacts: one source is not a population."""
    voice = 1
    while voice <= VOICES and not _is_new(seen, mix(network, U64(voice))):
        voice += 1
    return voice <= VOICES


@kernel
def _is_new(seen: Seen, pair: np.uint64) -> bool:
    """Whether a pair was in neither generation; it is in the current one now."""
    known, added = meet(seen.pairs, seen.now[0], pair)
    seen.now[1] += added
    return not known


@kernel
def _places(
    marks: npt.NDArray[np.int64], n: int, finish: int, shape: np.uint64, principal: np.uint64, version: int
) -> int:
    """Bins of what has no size; returns how many bins the row fills now."""
    if finish >= 0:
        marks[n] = _FINISH_AT + finish
        n += 1
    if shape != U64(0):
        marks[n] = _TEMPLATE_AT + np.int64(shape % U64(_TEMPLATE_N))
        n += 1
    if principal != U64(0):
        marks[n] = _PRINCIPAL_AT + np.int64(principal % U64(_PRINCIPAL_N))
        n += 1
    if version >= 0:
        marks[n] = _VERSION_AT + version % _VERSION_N
        n += 1
    return n


@kernel
def _octaves(marks: npt.NDArray[np.int64], n: int, value: float, at: int, room: int, unit: float) -> int:
    """The bin of a size: two to a doubling."""
    if not math.isfinite(value):
        return n
    half, power = math.frexp(1.0 + max(value, 0.0) / unit)  # half * 2 ** power, half from 1/2 to 1
    marks[n] = at + min(2 * (power - 1) + (half >= _ROOT_OF_HALF), room - 1)
    return n + 1


@kernel
def _steps(marks: npt.NDArray[np.int64], n: int, value: float, at: int, room: int, width: float) -> int:
    if np.isnan(value):
        return n
    marks[n] = at + int(min(max(value, 0.0) / width, room - 1.0))
    return n + 1


@kernel
def _or_zero(value: float) -> float:
    return 0.0 if np.isnan(value) else value


@kernel
def _entry(sums: Sums, bucket: int, kind: int, key: np.uint64, limit: int) -> tuple[int, bool]:
    """The entry of a coarse key in a bucket, made if there is room; (-1, False) if there is none."""
    places, keys, buckets, kinds = sums.places, sums.keys, sums.buckets, sums.kinds
    mask = U64(places.shape[0] - 1)
    at = mix(key, U64(bucket * 4 + kind)) & mask
    while places[at] >= 0:
        entry = places[at]
        if keys[entry] == key and buckets[entry] == bucket and kinds[entry] == kind:
            return entry, False
        at = (at + U64(1)) & mask
    open_ = sums.of_kind[bucket & 1]
    if open_[0] != bucket:
        open_[:] = 0
        open_[0] = bucket
    if open_[1 + kind] >= limit:
        return -1, False
    entry = sums.used[0]
    places[at] = entry
    sums.used[0] += 1
    open_[1 + kind] += 1
    buckets[entry], kinds[entry], keys[entry] = bucket, kind, key
    sums.counts[entry, :] = 0.0
    sums.bins[entry, :] = np.float32(0.0)
    return entry, True


@kernel
def reindex(sums: Sums) -> None:
    """Make the index anew, after entries moved."""
    sums.places[:] = -1
    mask = U64(sums.places.shape[0] - 1)
    for entry in range(sums.used[0]):
        at = mix(sums.keys[entry], U64(sums.buckets[entry] * 4 + np.int64(sums.kinds[entry]))) & mask
        while sums.places[at] >= 0:
            at = (at + U64(1)) & mask
        sums.places[at] = entry
