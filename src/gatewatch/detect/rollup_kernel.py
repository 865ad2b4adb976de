"""Adds rows up per coarse key and bucket: the loop behind :mod:`gatewatch.detect.rollups`.

Each event is counted once, as its where row (ingest gives every event one). The clock moves row by row,
so the sums do not depend on how rows are cut into batches.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gatewatch.events.batch import AuthCode, Role
from gatewatch.events.rollup import BINS, COUNTS, ENTROPY_STEP, SPAN_S, UNITS, WIDTH, Kind, bins_of
from gatewatch.state.hashing import mix
from gatewatch.state.jit import kernel

U64 = np.uint64
LATE_S = 5.0  # ingest reads its sources aligned within this (settings ingest.align): a bucket waits as long for rows
# Failed first contacts that count of one network in a week or two. What one source does is seen on its key, and must
# not look like a botnet; residential proxies give an address 1.2 tries (DataDome), a /24 seldom more than two or three.
VOICES = 3
_WHERE = int(Role.WHERE)
_SUCCESS, _FAILURE = int(AuthCode.SUCCESS), int(AuthCode.FAILURE)
_PROJECT, _ENDPOINT, _CLIENT = int(Kind.PROJECT), int(Kind.ENDPOINT), int(Kind.CLIENT)
_HOUR_S = 3600.0

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
    """Which pairs have been met: two generations of a Bloom filter (Bloom 1970), the older forgotten in turn."""

    young: npt.NDArray[np.uint8]  # (2^k,) bytes of bits
    old: npt.NDArray[np.uint8]
    added: npt.NDArray[np.int64]  # (1,) to the young one


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


def none_seen(nbytes: int) -> Seen:
    """No pair met; ``nbytes`` is a power of two."""
    return Seen(np.zeros(nbytes, np.uint8), np.zeros(nbytes, np.uint8), np.zeros(1, np.int64))


@kernel
def add_rows(
    rows: Columns, first: int, sums: Sums, seen: Seen, clock: npt.NDArray[np.float64],
    limits: npt.NDArray[np.int64], fresh: npt.NDArray[np.int64],
) -> tuple[int, int]:  # fmt: skip
    """Add every row that counts to its coarse keys, from row ``first`` on, while there is room for four entries more.

    ``fresh`` (>= 4 * rows, 2) is filled with (entry, row) of entries that are new. ``clock`` (1,) is the newest event
    time seen. Returns the row to go on from, and how many entries are new. Cost: about .3 us a row.
    """
    made = 0
    marks = np.empty(PER_ROW, np.int64)
    amounts = np.zeros(len(COUNTS), np.float64)
    for i in range(first, rows.ts.shape[0]):
        if sums.used[0] + 4 > sums.keys.shape[0]:
            return i, made
        clock[0] = max(clock[0], rows.ts[i])
        if not rows.role[i] & _WHERE:
            continue
        bucket = int(np.floor(max(rows.ts[i], clock[0] - LATE_S) / SPAN_S))
        _measure(rows, i, seen, amounts)
        filled = _marks(rows, i, marks)
        for kind in range(4):
            key = _coarse(rows, i, kind)
            if kind > 0 and key == U64(0):
                continue
            entry, is_new = _entry(sums, bucket, kind, key, limits[kind])
            if entry < 0:
                sums.overflown[0] += 1
                continue
            if is_new:
                fresh[made, 0], fresh[made, 1] = entry, i
                made += 1
            for c in range(len(COUNTS)):
                sums.counts[entry, c] += amounts[c]
            for m in range(filled):
                sums.bins[entry, marks[m]] += np.float32(1.0)
    return rows.ts.shape[0], made


@kernel
def _coarse(rows: Columns, i: int, kind: int) -> np.uint64:
    """The row's key of that kind; 0 is none (and for ALL the only one)."""
    if kind == _PROJECT:
        return U64(rows.project[i])
    if kind == _ENDPOINT and (rows.endpoint[i] != U64(0) or rows.model[i] != U64(0)):
        return mix(rows.endpoint[i], rows.model[i])
    if kind == _CLIENT and rows.user_agent[i] != U64(0):
        return mix(rows.user_agent[i], U64(rows.asn[i]))
    return U64(0)


@kernel
def _measure(rows: Columns, i: int, seen: Seen, out: npt.NDArray[np.float64]) -> None:
    """What the row adds to each count."""
    out[:] = 0.0
    out[REQUESTS] = 1.0
    status = rows.status[i]
    out[CLIENT_ERRORS] = 1.0 if 400 <= status < 500 else 0.0
    out[SERVER_ERRORS] = 1.0 if status >= 500 else 0.0
    out[DENIED] = 1.0 if rows.denied[i] == 1 else 0.0
    out[BYTES_IN], out[BYTES_OUT] = _or_zero(rows.bytes_in[i]), _or_zero(rows.bytes_out[i])
    out[TOKENS_IN], out[TOKENS_OUT] = _or_zero(rows.tokens_in[i]), _or_zero(rows.tokens_out[i])
    out[COST_USD] = _or_zero(rows.cost_usd[i])
    said = rows.finish[i] >= 0 or rows.refusal[i] >= 0 or not np.isnan(rows.confidence[i])
    out[OUTPUTS] = 1.0 if said else 0.0
    out[REFUSALS] = 1.0 if rows.refusal[i] == 1 else 0.0
    if rows.blocked[i] == 1:  # our own refusals are nobody's failure
        out[BLOCKED] = 1.0
        return
    _logins(rows, i, seen, out)


@kernel
def _logins(rows: Columns, i: int, seen: Seen, out: npt.NDArray[np.float64]) -> None:
    """What the row adds to the counts of logins."""
    auth = rows.auth[i]
    if auth not in (_SUCCESS, _FAILURE):
        return
    who = rows.account[i]
    if who == U64(0):
        who = rows.credential[i] if rows.credential[i] != U64(0) else rows.principal[i]
    first = who != U64(0) and _is_new(seen, mix(rows.network[i], who))
    if auth == _FAILURE:
        out[FAILURES] = 1.0
        if first and _may_speak(seen, rows.network[i]):
            out[FIRST_FAILURES] = 1.0
            out[UNKNOWN_FAILURES] = 1.0 if rows.known[i] == 0 else 0.0
        return
    out[SUCCESSES] = 1.0
    out[FIRST_SUCCESSES] = 1.0 if first else 0.0
    hour = U64(np.int64(rows.ts[i] / _HOUR_S))
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
    """Whether a pair was in neither generation; it is in the young one now."""
    bits = seen.young.shape[0] * 8
    step = U64(pair >> U64(32)) | U64(1)
    in_young, in_old = True, True
    at = pair
    for _ in range(3):
        place = np.int64(at % U64(bits))
        byte, bit = place >> 3, np.uint8(1 << (place & 7))
        in_young = in_young and (seen.young[byte] & bit) != 0
        in_old = in_old and (seen.old[byte] & bit) != 0
        seen.young[byte] |= bit
        at = U64(at + step)
    if not in_young:
        seen.added[0] += 1
    return not in_young and not in_old


@kernel
def _marks(rows: Columns, i: int, marks: npt.NDArray[np.int64]) -> int:
    """Bins that the row fills; returns how many."""
    n = _octaves(marks, 0, rows.latency_ms[i], _LATENCY_AT, _LATENCY_N, 1.0)
    n = _octaves(marks, n, rows.bytes_in[i], _IN_AT, _IN_N, _BYTES_UNIT)
    n = _octaves(marks, n, rows.bytes_out[i], _OUT_AT, _OUT_N, _BYTES_UNIT)
    n = _octaves(marks, n, rows.tokens_out[i], _TOKENS_AT, _TOKENS_N, 1.0)
    if rows.finish[i] >= 0:
        marks[n] = _FINISH_AT + rows.finish[i]
        n += 1
    n = _steps(marks, n, rows.confidence[i], _CONFIDENCE_AT, _CONFIDENCE_N, 1.0 / _CONFIDENCE_N)
    n = _steps(marks, n, rows.entropy[i], _ENTROPY_AT, _ENTROPY_N, ENTROPY_STEP)
    if rows.shape[i] != U64(0):
        marks[n] = _TEMPLATE_AT + np.int64(rows.shape[i] % U64(_TEMPLATE_N))
        n += 1
    if rows.principal[i] != U64(0):
        marks[n] = _PRINCIPAL_AT + np.int64(rows.principal[i] % U64(_PRINCIPAL_N))
        n += 1
    if rows.version[i] >= 0:
        marks[n] = _VERSION_AT + rows.version[i] % _VERSION_N
        n += 1
    return n


@kernel
def _octaves(marks: npt.NDArray[np.int64], n: int, value: float, at: int, room: int, unit: float) -> int:
    if np.isnan(value):
        return n
    step = 2.0 * np.log2(1.0 + max(value, 0.0) / unit)
    marks[n] = at + int(min(step, room - 1.0))
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
    mask = U64(sums.places.shape[0] - 1)
    at = mix(key, U64(bucket * 4 + kind)) & mask
    while sums.places[at] >= 0:
        entry = sums.places[at]
        if sums.keys[entry] == key and sums.buckets[entry] == bucket and sums.kinds[entry] == kind:
            return entry, False
        at = (at + U64(1)) & mask
    open_ = sums.of_kind[bucket & 1]
    if open_[0] != bucket:
        open_[:] = 0
        open_[0] = bucket
    if open_[1 + kind] >= limit:
        return -1, False
    entry = sums.used[0]
    sums.places[at] = entry
    sums.used[0] += 1
    open_[1 + kind] += 1
    sums.buckets[entry], sums.kinds[entry], sums.keys[entry] = bucket, kind, key
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
