"""One event through all kernels of ingest, before a group is joined: Numba takes seconds the first time."""

from __future__ import annotations

from functools import cache

import numpy as np

from gatewatch.events.formats.native import Native
from gatewatch.ingest.columns import Cleaner
from gatewatch.ingest.read import read
from gatewatch.ingest.routing import route
from gatewatch.ingest.shown import Shown
from gatewatch.state.hashing import HashSeed

_ONE = b'{"ts":0,"request_id":"r","ip":"192.0.2.1","shape":{"hash":"s"}}'


@cache
def compile_kernels() -> None:
    """Once a process: some 20 s the first time, milliseconds from the cache on disk."""
    columns = Cleaner(HashSeed(0, 0)).cleaned(read(Native(), [_ONE]).raw)
    one = np.zeros(1, np.int64)
    columns.place(ts=columns.numbers["ts_raw"], src=one.astype(np.uint16), offset=one, index=one.astype(np.int32))
    Shown(2).choose(columns)
    route(columns, 1)
