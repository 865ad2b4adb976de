"""What ingest costs by the size of its rounds, without a log: read, clean, route, encode.

At 5,000 events a second a round of 20 ms holds 100; a backlog comes in thousands.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from common import Figure, Results, arrays, events, repeat

from gatewatch.events.formats import get
from gatewatch.ingest.columns import Cleaner
from gatewatch.ingest.cut import pieces
from gatewatch.ingest.read import read
from gatewatch.ingest.routing import route
from gatewatch.settings import Settings
from gatewatch.state.hashing import HashSeed

EVENTS, ARRAY = 36_000, 100
SETTINGS = Settings()


def run(results: Results) -> None:
    """Add this module's figures."""
    single = events(EVENTS)
    spelt = [value.replace(b'"method":"POST"', rb'"method":"\u0050OST"') for value in single]
    kinds: dict[str, Callable[[list[bytes]], list[bytes]]] = {
        "one event a message": lambda values: values,
        "arrays of 100": partial(arrays, size=ARRAY),
    }
    for rows in (10, 100, 1000, 9000):
        rounds = [single[low : low + rows] for low in range(0, min(EVENTS, 200 * rows), rows)]
        for kind, packed in kinds.items():
            if kind == "one event a message" or rows >= ARRAY:
                _measure(results, f"rounds of {rows:,}, {kind}", [packed(values) for values in rounds], rows)
    hostile = [spelt[low : low + 9000] for low in range(0, EVENTS, 9000)]
    _measure(results, "rounds of 9,000, an escape in each event", hostile, 9000)


def _measure(results: Results, name: str, rounds: list[list[bytes]], rows: int) -> None:
    cleaner = Cleaner(HashSeed(1, 2))
    rate, spread = repeat(lambda: sum(_round(cleaner, values) for values in rounds), 3)
    results.add(Figure(name, rate, "events/s", spread, note=f"{1e6 * rows / rate:,.0f} us a round"))


def _round(cleaner: Cleaner, values: list[bytes]) -> int:
    part = read(get("native"), values)
    columns = cleaner.cleaned(part.raw)
    columns.place(
        ts=columns.numbers["ts_raw"],
        src=np.zeros(part.n, np.uint16),
        offset=part.value_index,
        index=part.element_index.astype(np.int32),
    )
    batch, starts = route(columns, SETTINGS.kafka.partitions)
    for low, high in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        if low < high:
            for _piece in pieces(
                batch.slice(low, high - low), SETTINGS.ingest.batch_rows, int(SETTINGS.ingest.batch_bytes)
            ):
                pass
    return part.n
