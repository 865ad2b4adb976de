"""Rows go to the partition of their principal and to that of their network, once each."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from gatewatch.events.batch import KEYS, STRINGS, Batch, Role
from gatewatch.events.formats.native import Native
from gatewatch.ingest.columns import Cleaner
from gatewatch.ingest.read import read
from gatewatch.ingest.routing import place, route
from gatewatch.testing.batches import SEED

PRINCIPALS = st.lists(st.integers(0, 5), min_size=0, max_size=40)


def _u64(values: list[int]) -> npt.NDArray[np.uint64]:
    return np.array(values, np.uint64)


@given(PRINCIPALS, st.integers(1, 5), st.randoms(use_true_random=False))
def test_each_row_has_one_place_for_each_role(principals: list[int], partitions: int, random: object) -> None:
    """If this fails, a key's events are split over partitions, counted twice, or not at all."""
    n = len(principals)
    shown = np.array([(p * 5 + i) % 3 == 0 for i, p in enumerate(principals)], np.bool_)
    networks = [(p * 7 + i) % 4 for i, p in enumerate(principals)]
    accounts = [(p * 3 + i) % 3 for i, p in enumerate(principals)]
    rows, roles, starts = place(
        _u64(principals), _u64(accounts), _u64([0] * n), _u64(networks), np.arange(n, dtype=np.int64), shown, partitions
    )
    for i in range(n):
        copies = [role for r, role in zip(rows, roles, strict=True) if r == i]
        assert len(copies) == (partitions if shown[i] else sum(1 for role in copies if role & 3))
        assert sum(1 for role in copies if role == Role.SHOW) == len(copies) - sum(1 for role in copies if role & 3)
    where = {int(r) for r, role in zip(rows, roles, strict=True) if role & Role.WHERE}
    assert where == set(range(n))
    assert sum(1 for role in roles if role & Role.WHERE) == n
    named = [i for i in range(n) if principals[i] or accounts[i]]
    assert sorted(int(r) for r, role in zip(rows, roles, strict=True) if role & Role.WHO) == named
    for q in range(partitions):
        part = rows[starts[q] : starts[q + 1]]
        assert list(part) == sorted(part), "order within a partition is the order of arrival"
        for r, role in zip(part, roles[starts[q] : starts[q + 1]], strict=True):
            if role & Role.WHO:
                assert (principals[r] or accounts[r]) % partitions == q
            if role & Role.WHERE and networks[r]:
                assert networks[r] % partitions == q


def test_a_row_that_is_only_shown_names_nobody() -> None:
    """If this fails, every partition's readers get names and addresses of callers that are none of their business."""
    event = (
        b'{"ts":1000,"principal":"alice","credential":"key-1","ip":"203.0.113.7","endpoint":"/x","status":200,'
        b'"features":["tools"],"user_agent":"sdk/1","shape":{"hash":"s","fields":[":obj"],"body_size":10}}'
    )
    columns = Cleaner(SEED).cleaned(read(Native(), [event]).raw)
    zero = np.zeros(1, np.int64)
    columns.place(ts=columns.numbers["ts_raw"], src=zero.astype(np.uint16), offset=zero, index=zero.astype(np.int32))
    arrow, starts = route(columns, 4, np.ones(1, np.bool_))
    batch = Batch(arrow)
    assert np.diff(starts).tolist() == [1, 1, 1, 1]
    guests = np.flatnonzero(batch.role == Role.SHOW)
    assert 2 <= len(guests) <= 3
    for row in guests.tolist():
        assert all(batch.text(name, row) is None for name in STRINGS)
        assert batch.texts("features", row) == []
        assert batch.texts("shape_fields", row) == [":obj"]
        known = {name for name in KEYS if batch.column(name)[row]}
        assert known == {"k_principal", "k_endpoint", "k_shape"}
    (home,) = np.flatnonzero(batch.role & Role.WHO).tolist()
    assert batch.text("principal", home) == "alice"
