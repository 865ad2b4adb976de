"""The names on the ``restricted`` and ``canaries`` lists, and the features of a batch, as hashes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gatewatch.sdk import Batch, HashSeed, hash_text, kernel, rows_of, templates_of, words_of

from .constants import GONE
from .layout import Names

U64 = np.uint64
_NOT_SERVED = (401, *GONE)


def table(restricted: Mapping[str, float], canaries: Sequence[str], seed: HashSeed) -> Names:
    """Both lists as one hash table, at most half full; without a slot where both are empty."""
    listed = dict.fromkeys([*restricted, *canaries])
    slots = 0
    while slots < 2 * len(listed):
        slots = max(8, 2 * slots)
    names = Names(np.zeros(slots, np.uint64), np.zeros(slots), np.full(slots, -1, np.int16), np.zeros(slots, np.uint8))
    order = {name: i for i, name in enumerate(restricted)}
    for name in listed:
        key = hash_text(name, seed)
        at = key & (slots - 1)
        while names.key[at] != 0:
            at = (at + 1) & (slots - 1)
        names.key[at] = key
        names.weight[at] = restricted.get(name, 0.0)
        names.bit[at] = order.get(name, -1)
        names.canary[at] = name in canaries
    return names


@kernel
def slot_of(names: Names, key: np.uint64) -> int:
    """Where a name stands, or -1."""
    slots = names.key.shape[0]
    if slots == 0 or key == U64(0):
        return -1
    at = int(np.int64(key & U64(slots - 1)))  # signed: Numba adds unsigned to signed as floats
    while names.key[at] != U64(0):
        if names.key[at] == key:
            return at
        at = (at + 1) & (slots - 1)
    return -1


class FeatureHashes:
    """Hashes the features of a batch: Arrow finds the distinct ones, each is hashed once.

    Args:
        seed: the installation's.
        room: distinct features remembered between batches. What callers ask for is a word of the provider's API, so
            there are dozens; a stranger who invents them only makes us hash them again.
    """

    def __init__(self, seed: HashSeed, room: int = 4096) -> None:
        self._seed = seed
        self._room = room
        self._known: dict[str | None, int] = {}

    def of(self, batch: Batch) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
        """The hashes of all rows' features, and where each row's begin (n + 1,); (0,) where no row has any."""
        words = words_of(batch, "features")
        if words is None:
            return np.zeros(0, np.uint64), np.zeros(0, np.int64)
        hashes = np.array([self._hash(word) for word in words.distinct], np.uint64)
        return hashes[words.codes], words.starts

    def _hash(self, name: str | None) -> int:
        known = self._known.get(name)
        if known is None:
            if len(self._known) >= self._room:
                self._known.clear()
            known = self._known[name] = hash_text(name, self._seed)
        return known


class Families:
    """Hashes of paths without their ids, of what is not there or locked, where the gateway logs no route.

    Args:
        seed: the installation's.
    """

    def __init__(self, seed: HashSeed) -> None:
        self._seed = seed

    def of(self, batch: Batch) -> npt.NDArray[np.uint64]:
        """One for each row, 0 where there is none; (0,) where no row has any. Cost: 1 us a row that was not there."""
        if not batch.has("path") or not _is_gone_for_some(rows_of(batch)):
            return np.zeros(0, np.uint64)
        rows = np.flatnonzero(np.isin(batch.column("status"), _NOT_SERVED) & (batch.column("k_endpoint") == 0))
        if len(rows) == 0:
            return np.zeros(0, np.uint64)
        templates, codes = templates_of(batch, rows)
        hashes = np.array([0 if name is None else hash_text(name, self._seed) for name in templates], np.uint64)
        found = np.zeros(batch.n, np.uint64)
        found[rows] = hashes[codes]
        return found


@kernel
def _is_gone_for_some(rows: Any) -> bool:
    """Whether any row asks for what is not there: a tenth of what it takes numpy to say so of a small batch."""
    for i in range(rows.shape[0]):  # noqa: SIM110 - a kernel: Numba has no generators to give to any()
        if rows[i].status in _NOT_SERVED and rows[i].k_endpoint == U64(0):
            return True
    return False
