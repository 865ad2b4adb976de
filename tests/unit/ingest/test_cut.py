"""Records of bounded size, and never half a value."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from gatewatch.events.batch import ROUTED, decode
from gatewatch.ingest.cut import pieces


def _batch(values: list[tuple[int, int, int]]) -> pa.RecordBatch:
    """Rows of (src, offset, elements in that value), nothing else filled."""
    src = np.repeat([v[0] for v in values], [v[2] for v in values]).astype(np.uint16)
    offset = np.repeat([v[1] for v in values], [v[2] for v in values]).astype(np.int64)
    filled = {"src": pa.array(src), "offset": pa.array(offset)}
    arrays = [filled.get(f.name, pa.nulls(len(src), f.type)) for f in ROUTED]
    return pa.RecordBatch.from_arrays(arrays, schema=ROUTED)


VALUES = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 12)), min_size=1, max_size=40)


@given(VALUES, st.integers(1, 30))
def test_pieces_hold_whole_values_and_lose_none(sizes: list[tuple[int, int]], rows_max: int) -> None:
    """If this fails, half a value is committed and the other half is lost or counted twice after a crash."""
    next_offset = [0, 0, 0]
    values = []
    for src, n in sizes:
        values.append((src, next_offset[src], n))
        next_offset[src] += 1
    batch = _batch(values)
    seen: list[tuple[int, int]] = []
    stops: dict[int, int] = {}
    for piece in pieces(batch, rows_max, 1 << 30):
        got = decode(piece.value, piece.schema)
        rows = list(zip(got.column("src").tolist(), got.column("offset").tolist(), strict=True))
        assert len(rows) == piece.rows
        assert not set(rows) & set(seen), "no value is in two pieces"
        for src, offset in rows:
            assert offset >= stops.get(src, 0), "a piece holds nothing that an earlier range covered"
        seen += rows
        if piece.stops is not None:
            stops |= piece.stops
            for src, offset in rows:
                assert offset < stops[src]
    assert seen == list(zip(batch.column("src").to_pylist(), batch.column("offset").to_pylist(), strict=True))


def test_bytes_are_a_reason_to_cut() -> None:
    """If this fails, a batch of long strings is refused by the broker and stops the worker."""
    n = 400
    columns = {f.name: pa.nulls(n, f.type) for f in ROUTED}
    columns |= {
        "src": pa.array(np.zeros(n, np.uint16)),
        "offset": pa.array(np.arange(n)),
        "path": pa.array(["/" + "x" * 500] * n),
    }
    batch = pa.RecordBatch.from_arrays([columns[f.name] for f in ROUTED], schema=ROUTED)
    cut = list(pieces(batch, 10_000, 50_000))
    assert len(cut) > 3
    assert max(len(p.value) for p in cut) < 80_000
