"""A batch as records: what kernels read is what Arrow holds, wherever in its memory that stands."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from gatewatch.errors import UnreadableError
from gatewatch.events.batch import ABSENT, NUMBERS, ROUTED, Batch, decode, encode, schema_id
from gatewatch.state.rows import rows_of


def _values(name: str, n: int, rng: np.random.Generator) -> npt.NDArray[np.generic]:
    kind = np.dtype(ROUTED.field(name).type.to_pandas_dtype())
    if kind.kind == "f":
        return np.where(rng.random(n) < 0.3, np.nan, rng.normal(size=n))
    info = np.iinfo(kind)
    return rng.integers(info.min, info.max, n, kind, endpoint=True)


def _batch(names: tuple[str, ...], n: int) -> pa.RecordBatch:
    rng = np.random.default_rng(1)
    schema = pa.schema([field for field in ROUTED if field.name in names])
    return pa.RecordBatch.from_arrays([pa.array(_values(name, n, rng)) for name in schema.names], schema=schema)


@pytest.mark.parametrize("n", [0, 1, 63, 64, 65, 1000])
def test_every_number_is_where_kernels_look_for_it(n: int) -> None:
    """A detector would judge a row by another row's numbers, or by another column's."""
    batch = _batch(NUMBERS, n)
    for ours in (Batch(batch), decode(encode(batch), schema_id(batch))):
        rows = rows_of(ours)
        assert len(rows) == n
        for name in NUMBERS:
            np.testing.assert_array_equal(rows[name], ours.column(name))


def test_a_slice_is_read_from_where_it_begins() -> None:
    """Rows that were trimmed off the front of a batch would be judged again, in place of those that remain."""
    batch = _batch(NUMBERS, 300)
    rows = rows_of(Batch(batch.slice(70, 130)))
    for name in NUMBERS:
        np.testing.assert_array_equal(rows[name], batch.column(name).to_numpy()[70:200])


def test_what_no_gateway_sends_is_absent() -> None:
    """A column that does not travel would read as zeros, or as what stood in memory before."""
    some = ("ts", "role", "k_ip", "status")
    rows = rows_of(Batch(_batch(some, 100)))
    for name, value in ABSENT.items():
        if name not in some:
            np.testing.assert_array_equal(rows[name], np.full(100, value))


def test_records_are_made_once_and_cannot_be_changed() -> None:
    """A detector could change what the next one sees, and each would pay for them anew."""
    batch = Batch(_batch(NUMBERS, 10))
    rows = rows_of(batch)
    assert rows_of(batch) is rows
    with pytest.raises(ValueError, match="read-only"):
        rows["ts"][0] = 0.0


def test_numbers_that_are_null_make_a_batch_unreadable() -> None:
    """A stranger's record with nulls would be read as whatever stands in their places."""
    status = pa.array([200, None], pa.int32())
    batch = pa.RecordBatch.from_arrays([pa.array([1.0, 2.0]), status], ["ts", "status"])
    with pytest.raises(UnreadableError, match="null"):
        rows_of(Batch(batch))


def test_a_column_of_another_type_is_refused() -> None:
    """Kernels read memory by the types of ``ROUTED``: four bytes a row where eight are expected end beyond it."""
    with pytest.raises(TypeError, match="ts"):
        Batch(pa.RecordBatch.from_arrays([pa.array([1.0], pa.float32())], ["ts"]))
