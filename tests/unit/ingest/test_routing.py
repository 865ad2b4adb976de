"""Rows go to the partition of their principal and to that of their network, once each."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from gatewatch.events.batch import Role
from gatewatch.ingest.routing import place

KEYS = st.lists(st.integers(0, 5), min_size=0, max_size=40)


def _u64(values: list[int]) -> npt.NDArray[np.uint64]:
    return np.array(values, np.uint64)


@given(KEYS, st.integers(1, 5), st.randoms(use_true_random=False))
def test_each_row_has_one_place_for_each_role(principals: list[int], partitions: int, random: object) -> None:
    """If this fails, a key's events are split over partitions, counted twice, or not at all."""
    n = len(principals)
    networks = [(p * 7 + i) % 4 for i, p in enumerate(principals)]
    accounts = [(p * 3 + i) % 3 for i, p in enumerate(principals)]
    rows, roles, starts = place(
        _u64(principals), _u64(accounts), _u64([0] * n), _u64(networks), np.arange(n, dtype=np.int64), partitions
    )
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
