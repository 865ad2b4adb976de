"""A task's part of the sums that no key has: rows in, closed buckets out. Bounded, whatever keys a stranger invents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import floor, isfinite
from typing import Any, ClassVar

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gatewatch.detect.rollup_kernel import (
    LATE_S,
    Scratch,
    Sums,
    add_rows,
    no_sums,
    reindex,
    scratch,
)
from gatewatch.detect.rollup_row import Seen, none_seen
from gatewatch.errors import StateError
from gatewatch.events.batch import Batch
from gatewatch.events.rollup import BINS, COUNTS, FINISH, SPAN_S, Kind, Rows, together
from gatewatch.state.hashing import HashSeed, hash_column
from gatewatch.state.pairs import forget_older
from gatewatch.state.rows import no_rows, rows_of

# Entries of a bucket, of each kind. An endpoint is a route template, a project somebody who is billed:
# sites have hundreds. A user agent is anybody's invention: what finds no room still counts in ALL.
LIMITS = {Kind.ALL: 1, Kind.PROJECT: 512, Kind.ENDPOINT: 1024, Kind.CLIENT: 512}
_LIMITS = np.array([LIMITS[kind] for kind in Kind], np.int64)
# The two buckets that may be open, and as much again for closed ones; 11 MB where all of it is in use
ROOM = 4 * sum(LIMITS.values())
LABELS_MAX = 20_000  # names remembered, some 200 B each
SEEN_MAX = 1 << 18  # pairs in a generation: half a megabyte
# And no generation is younger when it is forgotten: people come back within a week, and what they fail at then must not
# look like a first contact, or a botnet's is lost among theirs.
SEEN_S = 7 * 86_400.0
_FINISH = {name: code for code, name in enumerate(FINISH)} | {"end_turn": 0, "max_tokens": 1, "tool_use": 3}
# What a label of each kind is made of
_LABELS = {
    Kind.ALL: (),
    Kind.PROJECT: ("project",),
    Kind.ENDPOINT: ("endpoint", "model", "project"),
    Kind.CLIENT: ("user_agent",),
}


@dataclass(slots=True)
class Rollups:
    """The open buckets of one detect task."""

    version: ClassVar[int] = 3
    seed: HashSeed
    _sums: Sums = field(default_factory=lambda: no_sums(ROOM))
    _seen: Seen = field(default_factory=lambda: none_seen(SEEN_MAX))
    _scratch: Scratch = field(default_factory=scratch)
    _clock: npt.NDArray[np.float64] = field(default_factory=lambda: np.full(1, -np.inf))
    _turned_at: float = -np.inf  # event time at which the older generation of pairs was last forgotten
    _told: int | None = None  # buckets below are closed and were given away
    _done: list[Rows] = field(default_factory=list)  # of buckets that are closed and not given away
    _labels: dict[tuple[int, int], dict[str, str]] = field(default_factory=dict)

    def add(self, batch: Batch) -> None:
        """Add a batch's rows; where it was cut shows nowhere.

        Cost: about .2 us a row, and 2 us for each coarse key of each bucket.
        """
        rows, finish, version, at = rows_of(batch), _finish_codes(batch), _version_codes(batch, self.seed), 0
        fresh = np.empty((4 * batch.n, 2), np.int64)
        while at < batch.n:
            at, made = add_rows(
                rows, finish, version, at, self._sums, self._seen, self._clock, _LIMITS, self._scratch, fresh
            )
            if made:
                self._name(fresh[:made], batch)
            if at < batch.n:  # no room: what is closed makes some
                self._take()
        self._turn()

    def close(self, watermark: float) -> tuple[int, Rows] | None:
        """What has closed since the last time: the number of the first bucket that is open, and the rows before it.

        A bucket closes when the newest row, or the watermark, is :data:`LATE_S` past its end; a row that is later still
        counts in the next one.
        """
        now = self._clock[0] = max(float(self._clock[0]), watermark)
        if not isfinite(now):
            return None
        closed = self._open()
        if self._told is not None and closed <= self._told:
            return None
        self._told = closed
        self._take()
        done, self._done = self._done, []
        return closed, together(done)

    def _open(self) -> int:
        """The first bucket that is open."""
        return floor((float(self._clock[0]) - LATE_S) / SPAN_S)

    @property
    def overflown(self) -> int:
        """Rows that were counted in ALL only, since the start."""
        return int(self._sums.overflown[0])

    def snapshot(self) -> dict[str, npt.NDArray[Any]]:
        """Everything but what is closed and not given away: a task takes that at once (:meth:`close`)."""
        used = int(self._sums.used[0])
        labels = [[kind, key, label] for (kind, key), label in self._labels.items()]
        return {
            "version": np.array([self.version], np.int64),
            "buckets": self._sums.buckets[:used].copy(),
            "kinds": self._sums.kinds[:used].copy(),
            "keys": self._sums.keys[:used].copy(),
            "counts": self._sums.counts[:used].copy(),
            "bins": self._sums.bins[:used].copy(),
            "pairs": self._seen.pairs.copy(),
            "generation": self._seen.now.copy(),
            "numbers": np.array([self._clock[0], self._turned_at, self._sums.overflown[0]]),
            "told": np.array([] if self._told is None else [self._told], np.int64),
            "of_kind": self._sums.of_kind.copy(),
            "labels": np.frombuffer(msgspec.msgpack.encode(labels), np.uint8).copy(),
        }

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Become what :meth:`snapshot` saved.

        Raises:
            StateError: another version.
        """
        if int(arrays["version"][0]) != self.version or arrays["counts"].shape[1:] != (len(COUNTS),):
            raise StateError("rollups of another version")
        used = len(arrays["keys"])
        self._sums = no_sums(ROOM)
        for name in ("buckets", "kinds", "keys", "counts", "bins"):
            getattr(self._sums, name)[:used] = arrays[name]
        clock, self._turned_at, overflown = arrays["numbers"].tolist()
        self._sums.used[0], self._sums.overflown[0], self._clock[0] = used, overflown, clock
        reindex(self._sums)
        self._seen.pairs[:], self._seen.now[:] = arrays["pairs"], arrays["generation"]
        self._told = int(arrays["told"][0]) if len(arrays["told"]) else None
        self._sums.of_kind[:] = arrays["of_kind"]
        self._done = []
        labels = msgspec.msgpack.decode(arrays["labels"].tobytes(), type=list[tuple[int, int, dict[str, str]]])
        self._labels = {(kind, key): label for kind, key, label in labels}

    def _take(self) -> None:
        """Put the entries of closed buckets aside, in order; the others move up."""
        used = int(self._sums.used[0])
        over = self._sums.buckets[:used] < self._open()
        done, stay = np.flatnonzero(over), np.flatnonzero(~over)
        if not len(done):
            return
        order = np.lexsort((self._sums.keys[done], self._sums.kinds[done], self._sums.buckets[done]))
        self._done.append(self._rows(done[order]))
        for array in (self._sums.buckets, self._sums.kinds, self._sums.keys, self._sums.counts, self._sums.bins):
            array[: len(stay)] = array[stay]
        self._sums.used[0] = len(stay)
        reindex(self._sums)

    def _rows(self, at: npt.NDArray[np.intp]) -> Rows:
        kinds, keys = self._sums.kinds[at], self._sums.keys[at]
        labels = tuple(self._labels.get(which, {}) for which in zip(kinds.tolist(), keys.tolist(), strict=True))
        return Rows(self._sums.buckets[at], kinds, keys, labels, self._sums.counts[at], self._sums.bins[at])

    def _name(self, fresh: npt.NDArray[np.int64], batch: Batch) -> None:
        """Remember what new entries' keys are called; when there are too many names, those not in use are forgotten."""
        entries = fresh[:, 0]
        pairs = zip(self._sums.kinds[entries].tolist(), self._sums.keys[entries].tolist(), strict=True)
        for pair, row in zip(pairs, fresh[:, 1].tolist(), strict=True):
            if pair not in self._labels:
                self._labels[pair] = _label(Kind(pair[0]), batch, row)
        if len(self._labels) > LABELS_MAX:
            used = int(self._sums.used[0])
            in_use = set(zip(self._sums.kinds[:used].tolist(), self._sums.keys[:used].tolist(), strict=True))
            self._labels = {pair: label for pair, label in self._labels.items() if pair in in_use}

    def _turn(self) -> None:
        """Forget the older generation of pairs when the younger is full, or a week old."""
        now = float(self._clock[0])
        if self._turned_at == -np.inf:
            self._turned_at = now
        if now - self._turned_at >= SEEN_S or self._seen.now[1] >= SEEN_MAX:
            self._seen.now[:] = forget_older(self._seen.pairs, self._seen.now[0]), 0
            self._turned_at = now


def _label(kind: Kind, batch: Batch, row: int) -> dict[str, str]:
    label = {name: text for name in _LABELS[kind] if (text := batch.text(name, row)) is not None}
    if kind is Kind.CLIENT and (asn := int(batch.column("asn")[row])) >= 0:
        label["asn"] = str(asn)
    return label


def warm_up() -> None:
    """Compile the kernels, by running them on nothing."""
    sums, seen, none = no_sums(1), none_seen(8), np.zeros(0, np.int16)
    add_rows(no_rows(), none, none, 0, sums, seen, np.zeros(1), _LIMITS, scratch(), np.empty((0, 2), np.int64))
    reindex(sums)


def _finish_codes(batch: Batch) -> npt.NDArray[np.int16]:
    """(rows,) place in :data:`~gatewatch.events.rollup.FINISH` of each row's finish reason; -1 where it has none."""
    return _codes(batch, "finish_reason", lambda words: [_FINISH.get(word, len(FINISH) - 1) for word in words])


def _version_codes(batch: Batch, seed: HashSeed) -> npt.NDArray[np.int16]:
    """(rows,) a bin of each row's model version, by its keyed hash; -1 where it has none."""

    def bins(words: list[str]) -> list[int]:
        return [int(h) % BINS["version"] for h in hash_column(pa.array(words, pa.string()), seed)]

    return _codes(batch, "model_version", bins)


def _codes(batch: Batch, name: str, code_of: Callable[[list[str]], list[int]]) -> npt.NDArray[np.int16]:
    """Codes of a column of strings of which few differ."""
    if not batch.has(name):
        return np.full(batch.n, -1, np.int16)
    column = batch.arrow.column(name).dictionary_encode()
    codes: npt.NDArray[np.int16] = np.array([*code_of(column.dictionary.to_pylist()), -1], np.int16)
    at: npt.NDArray[np.int32] = column.indices.fill_null(len(codes) - 1).to_numpy(zero_copy_only=False)
    return codes[at]
