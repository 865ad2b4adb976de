"""Each event goes to two places: its *who* row and its *where* row.

The who row goes to hash(principal, else the account tried, else the credential), the where row to hash(network), both
modulo N. Where the two meet, one row carries both roles, so there are 2 - 1/N copies an event. An event without any
address has its where row spread by offset: nobody keys on it, and rollups only add it up.

A few events (:mod:`gatewatch.ingest.shown`) go to the other partitions too, as rows that have the role SHOW only. Such
a row holds no string, and of its keys only those that tell callers, endpoints and structures apart.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gatewatch.events.batch import ABSENT, KEY_OF, KEYS, ROUTED, STRINGS, Role
from gatewatch.ingest.columns import Columns
from gatewatch.ingest.gather import NOBODY
from gatewatch.state.jit import kernel

_ALWAYS = frozenset({"ts", "src", "offset", "index", "flags"})
_NAMES = tuple(ROUTED.names)
_WHO, _WHERE, _SHOW = int(Role.WHO), int(Role.WHERE), int(Role.SHOW)
_SHOWN = frozenset({"k_principal", "k_endpoint", "k_path", "k_shape"})  # keys that a row with SHOW only has
_SHOWN_LISTS = frozenset({"shape_fields"})


def route(
    columns: Columns, partitions: int, shown: npt.NDArray[np.bool_] | None = None
) -> tuple[pa.RecordBatch, npt.NDArray[np.int64]]:
    """All rows in order of routed partition, and where each partition begins.

    ``columns`` must have ``ts``, ``src``, ``offset`` and ``index``; columns that no row has are left out. Those of
    ``shown`` (n,) are shown to every partition. Row order within a partition is the order given. Returns the batch of
    all copies and ``starts`` (partitions + 1,): partition q is ``[starts[q], starts[q + 1])``.
    Cost: about 0.5 us an event, mostly copying strings.
    """
    keys = {name: columns.key(name) for name in KEYS}
    rows, roles, starts = place(
        keys["k_principal"],
        keys["k_account"],
        keys["k_credential"],
        keys["k_network"],
        columns.numbers["offset"],
        np.zeros(columns.n, np.bool_) if shown is None else shown,
        partitions,
    )
    guests = roles == _SHOW if shown is not None and shown.any() else None
    strings = [name for name in STRINGS if columns.has(name)]
    keys = {name: hashes for name, hashes in keys.items() if KEY_OF[name] in strings}
    told = rows if guests is None else np.where(guests, NOBODY, rows)
    arrays = dict(zip(strings, columns.texts(strings, told), strict=True))
    for name, values in (keys | columns.numbers).items():
        if name in _ALWAYS or (name in ABSENT and not _absent(name, values)):
            copies = values[rows]
            if guests is not None and name in KEYS and name not in _SHOWN:
                copies[guests] = 0
            arrays[name] = pa.array(copies)
    for name, lists in columns.lists.items():
        arrays[name] = lists.take(pa.array(rows, mask=None if name in _SHOWN_LISTS else guests))
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
    shown: npt.NDArray[np.bool_],
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
        key = _first(principal[i], account[i], credential[i])
        who[i] = np.int64(key % size) if key != zero else -1
        where[i] = np.int64(network[i] % size) if network[i] != zero else offset[i] % partitions
        if shown[i]:
            for q in range(partitions):
                starts[q + 1] += 1
        else:
            starts[where[i] + 1] += 1
            starts[who[i] + 1] += who[i] >= 0 and who[i] != where[i]
    for q in range(partitions):
        starts[q + 1] += starts[q]
    at = starts[:-1].copy()
    rows = np.empty(starts[partitions], np.int64)
    roles = np.empty(starts[partitions], np.uint8)
    for i in range(n):
        if shown[i]:
            for q in range(partitions):
                _put(rows, roles, at, q, i, _role(q, who[i], where[i]) | _SHOW)
        else:
            _put(rows, roles, at, where[i], i, _role(where[i], who[i], where[i]))
            if who[i] >= 0 and who[i] != where[i]:
                _put(rows, roles, at, who[i], i, _WHO)
    return rows, roles, starts


@kernel(inline=True)
def _first(principal: np.uint64, account: np.uint64, credential: np.uint64) -> np.uint64:
    """Whom an event is of: 0 for nobody."""
    if principal != np.uint64(0):
        return principal
    return account if account != np.uint64(0) else credential


@kernel(inline=True)
def _role(q: int, who: int, where: int) -> int:
    return (_WHO if q == who else 0) | (_WHERE if q == where else 0)


@kernel(inline=True)
def _put(
    rows: npt.NDArray[np.int64],
    roles: npt.NDArray[np.uint8],
    at: npt.NDArray[np.int64],
    q: int,
    i: int,
    role: int,
) -> None:
    rows[at[q]] = i
    roles[at[q]] = role
    at[q] += 1
