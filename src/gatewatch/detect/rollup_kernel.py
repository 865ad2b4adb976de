"""Adds rows up per coarse key and bucket: the loop behind :mod:`gatewatch.detect.rollups`.

Each event is counted once, as its where row (ingest gives every event one). The clock moves row by row,
so the sums do not depend on how rows are cut into batches.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gatewatch.detect.rollup_row import PER_ROW, Seen, add_login, add_outcome, add_sizes, fill_bins, who_of
from gatewatch.events.batch import Role
from gatewatch.events.rollup import COUNTS, SPAN_S, WIDTH, Kind
from gatewatch.state.hashing import mix
from gatewatch.state.jit import kernel
from gatewatch.state.keytable import STRIDE, ahead
from gatewatch.state.pairs import Pairs, ask_pair

U64 = np.uint64
LATE_S = 5.0  # ingest reads its sources aligned within this (settings ingest.align): a bucket waits as long for rows
_WHERE = int(Role.WHERE)
_PROJECT, _ENDPOINT, _CLIENT = int(Kind.PROJECT), int(Kind.ENDPOINT), int(Kind.CLIENT)


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


@kernel
def add_rows(
    rows: Any, finish: npt.NDArray[np.int16], version: npt.NDArray[np.int16], first: int,
    sums: Sums, seen: Seen, clock: npt.NDArray[np.float64],
    limits: npt.NDArray[np.int64], room: Scratch, fresh: npt.NDArray[np.int64],
) -> tuple[int, int]:  # fmt: skip
    """Add every row that counts to its coarse keys, from row ``first`` on, while there is room for four entries more.

    ``rows`` are the batch's records (:func:`gatewatch.state.rows.rows_of`), ``finish`` and ``version`` (rows,) codes of
    strings, -1 absent. ``fresh`` (>= 4 * rows, 2) is filled with (entry, row) of entries that are new. ``clock`` (1,)
    is the newest event time seen. Returns the row to go on from, and how many entries are new. Cost: about .2 us a row.
    """
    counts, bins, used, overflown = sums.counts, sums.bins, sums.used, sums.overflown
    marks, amounts = room.marks, room.amounts
    room.entries[:] = -1  # entries may have moved since the last call
    made = 0
    for i in range(first, rows.shape[0]):
        if used[0] + 4 > sums.keys.shape[0]:
            return i, made
        if i % STRIDE == 0:
            _ask_logins(rows, seen.pairs, i)
        row = rows[i]
        clock[0] = max(clock[0], row.ts)
        if not row.role & _WHERE:
            continue
        bucket = int(np.floor(max(row.ts, clock[0] - LATE_S) / SPAN_S))
        add_outcome(amounts, row.status, row.denied, row.refusal, finish[i] >= 0 or not np.isnan(row.confidence))
        add_sizes(amounts, row.bytes_in, row.bytes_out, row.tokens_in, row.tokens_out, row.cost_usd)
        who = who_of(row.k_account, row.k_credential, row.k_principal)
        add_login(amounts, row.blocked_by_us, row.auth, row.account_known, who, row.k_network, row.ts, seen)
        filled = fill_bins(
            marks, row.status, row.latency_ms, row.bytes_in, row.bytes_out, row.tokens_out, row.confidence,
            row.entropy, finish[i], row.k_shape, row.k_principal, version[i],
        )  # fmt: skip
        for kind in range(4):
            key = _coarse(kind, row.k_project, row.k_endpoint, row.k_model, row.k_user_agent, row.asn)
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
    return rows.shape[0], made


@kernel
def _ask_logins(rows: Any, pairs: Pairs, i: int) -> None:
    """Have in the cache which of the next rows' logins are first contacts."""
    account, credential, principal, network = rows.k_account, rows.k_credential, rows.k_principal, rows.k_network
    for j in range(ahead(i, 1), min(network.shape[0], i + 2 * STRIDE)):
        ask_pair(pairs, mix(network[j], who_of(account[j], credential[j], principal[j])))


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
