"""Each event goes to two places: its *who* row and its *where* row.

The who row goes to hash(principal, else the account tried, else the credential), the where row to hash(network), both
modulo N. Where the two meet, one row carries both roles, so there are 2 - 1/N copies an event. An event without any
address has its where row spread by offset: nobody keys on it, and rollups only add it up.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gatewatch.events.batch import ABSENT, KEY_OF, KEYS, ROUTED, STRINGS, Role
from gatewatch.ingest.columns import Columns
from gatewatch.state.jit import kernel

_ALWAYS = frozenset({"ts", "src", "offset", "index", "flags"})
_NAMES = tuple(ROUTED.names)
_WHO, _WHERE = int(Role.WHO), int(Role.WHERE)


def route(columns: Columns, partitions: int) -> tuple[pa.RecordBatch, npt.NDArray[np.int64]]:
    """All rows in order of routed partition, and where each partition begins.

    ``columns`` must have ``ts``, ``src``, ``offset`` and ``index``; columns that no row has are left out. Row order
    within a partition is the order given. Returns the batch of all copies and ``starts`` (partitions + 1,): partition
    q is ``[starts[q], starts[q + 1])``.
    Cost: about 0.5 us an event, mostly copying strings.
    """
    keys = {name: columns.key(name) for name in KEYS}
    rows, roles, starts = place(
        keys["k_principal"],
        keys["k_account"],
        keys["k_credential"],
        keys["k_network"],
        columns.numbers["offset"],
        partitions,
    )
    strings = [name for name in STRINGS if columns.has(name)]
    keys = {name: hashes for name, hashes in keys.items() if KEY_OF[name] in strings}
    arrays = dict(zip(strings, columns.texts(strings, rows), strict=True))
    for name, values in (keys | columns.numbers).items():
        if name in _ALWAYS or (name in ABSENT and not _absent(name, values)):
            arrays[name] = pa.array(values[rows])
    arrays |= {name: lists.take(pa.array(rows)) for name, lists in columns.lists.items()}
    arrays["role"] = pa.array(roles)
    names = tuple(name for name in _NAMES if name in arrays)
    return pa.RecordBatch.from_arrays([arrays[name] for name in names], schema=_schema(names)), starts


@lru_cache(maxsize=1024)  # one for each set of fields that some gateway fills
def _schema(names: tuple[str, ...]) -> pa.Schema:
    return pa.schema([ROUTED.field(name) for name in names])


def _absent(name: str, values: npt.NDArray[Any]) -> bool:
    """Whether no row has a value: then the column does not travel."""
    nothing = np.isnan(values) if values.dtype == np.float64 else values == ABSENT[name]
    return bool(nothing.all())


@kernel(allocates=True)
def place(
    principal: npt.NDArray[np.uint64],
    account: npt.NDArray[np.uint64],
    credential: npt.NDArray[np.uint64],
    network: npt.NDArray[np.uint64],
    offset: npt.NDArray[np.int64],
    partitions: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Counting sort of row copies by routed partition: row numbers, their roles, and where each partition starts."""
    n = principal.shape[0]
    who = np.empty(n, np.int64)
    where = np.empty(n, np.int64)
    starts = np.zeros(partitions + 1, np.int64)
    zero = np.uint64(0)
    size = np.uint64(partitions)
    for i in range(n):
        key = principal[i]
        if key == zero:
            key = account[i]
        if key == zero:
            key = credential[i]
        who[i] = np.int64(key % size) if key != zero else -1
        where[i] = np.int64(network[i] % size) if network[i] != zero else offset[i] % partitions
        starts[where[i] + 1] += 1
        if who[i] >= 0 and who[i] != where[i]:
            starts[who[i] + 1] += 1
    for q in range(partitions):
        starts[q + 1] += starts[q]
    at = starts[:-1].copy()
    rows = np.empty(starts[partitions], np.int64)
    roles = np.empty(starts[partitions], np.uint8)
    for i in range(n):
        a, b = who[i], where[i]
        rows[at[b]] = i
        roles[at[b]] = (_WHO | _WHERE) if a == b else _WHERE
        at[b] += 1
        if a >= 0 and a != b:
            rows[at[a]] = i
            roles[at[a]] = _WHO
            at[a] += 1
    return rows, roles, starts
