"""The bounded table of keys: who gets a row, who keeps it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewatch.errors import StateError
from gatewatch.state.keytable import (
    DOOR,
    EVICTED,
    HELD_WAYS,
    REFUSED,
    WAYS,
    KeyTable,
    find_or_admit,
    hold,
    touch,
    used_rows,
    weight_at,
)
from gatewatch.state.notes import SUCCESS_KEEP_S, WEIGHT_TAU_S

ROW = np.dtype([("count", np.float64)])
NOW = 1_770_000_000.0


def _table(rows: int = WAYS, *, authenticated_only: bool = False) -> KeyTable:
    return KeyTable(rows, ROW, authenticated_only=authenticated_only)


def _admit(
    table: KeyTable, key: int, now: float = NOW, *, success: bool = False, at_once: bool = True
) -> tuple[int, bool]:
    row, new = find_or_admit(table.head, np.uint64(key), now, success, table.authenticated_only, at_once)
    return int(row), bool(new)


def _noted(table: KeyTable, row: int) -> dict[str, float]:
    """What the table notes of a row."""
    one = table.head.sets[row // WAYS]
    last, success, weight = one["notes"][row % WAYS]
    return {"key": one["keys"][row % WAYS], "last": last, "success": success, "weight": weight}


def _keys(start: int = 1) -> Iterator[int]:
    """Any number of different keys; in a table of one set they all meet."""
    return iter(range(start, 10**9))


def _full_of_customers() -> KeyTable:
    """One set, all of whose keys have had a success."""
    table = _table()
    for key in range(1, WAYS + 1):
        _admit(table, key, success=True)
    return table


def test_a_key_keeps_its_row() -> None:
    """A key that changed its row would lose its baseline."""
    table = _table(64)
    row, new = _admit(table, 5)

    assert new
    assert _admit(table, 5) == (row, False)
    assert table.row_of(5) == row
    assert table.row_of(6) == -1


def test_no_key_gets_no_row() -> None:
    """Hash 0 is "absent": all rows without a principal would share one baseline."""
    table = _table()

    assert _admit(table, 0, success=True) == (-1, False)
    assert table.row_of(0) == -1
    assert table.used == 0


@pytest.mark.parametrize(("asked", "given_"), [(1, 8), (8, 8), (9, 16), (1001, 1008), (100_000, 100_000)])
def test_capacity_is_whole_sets(asked: int, given_: int) -> None:
    """A table smaller than configured would forget customers; one much larger would not fit the memory planned."""
    assert _table(asked).capacity == given_


def test_the_lightest_row_goes() -> None:
    """A new customer must not push out one who is busy."""
    table = _table()
    for key in range(1, WAYS + 1):
        for _ in range(3 if key != 4 else 1):
            _admit(table, key)

    _, new = _admit(table, 99)

    assert new
    assert table.row_of(4) == -1
    assert all(table.row_of(key) >= 0 for key in (1, 2, 3, 5, 6, 7, 8, 99))
    assert table.head.stats[EVICTED] == 1


def test_weight_is_forgotten_over_an_hour() -> None:
    """A key that was busy yesterday would hold its row against one that is busy now."""
    table = _table()
    for key in range(1, WAYS + 1):
        for _ in range(100 if key == 1 else 2):
            _admit(table, key)
    later = NOW + 10 * WEIGHT_TAU_S
    for key in range(2, WAYS + 1):
        _admit(table, key, later)

    _admit(table, 99, later)

    assert table.row_of(1) == -1


def test_weight_does_not_rise_where_time_goes_back() -> None:
    """A backlog's late rows would make a key heavier than any other, exp(+age)."""
    table = _table()
    row, _ = _admit(table, 1)
    touch(table.head, row, NOW - 5 * WEIGHT_TAU_S, success=False)

    assert weight_at(table.head, row, NOW - 5 * WEIGHT_TAU_S) == 2.0
    assert _noted(table, row)["last"] == NOW


def test_strangers_cannot_push_out_customers() -> None:
    """Who sprays keys without a success would make the detectors forget everybody they know."""
    table = _table()
    for key in range(1, WAYS + 1):
        for _ in range(2 if key > 1 else 1):
            _admit(table, key, success=True)
    for key in range(100, 10_000):
        for _ in range(5):
            _admit(table, key, NOW + 60.0)

    assert table.row_of(1) == -1, "one way is open to keys without a success: that of the lightest customer"
    assert all(table.row_of(key) >= 0 for key in range(2, WAYS + 1))
    assert table.head.stats[EVICTED] == 9_900


def test_strangers_cannot_push_out_a_suspect() -> None:
    """Who tries passwords would hide behind keys that are made for it."""
    table = _full_of_customers()
    row, _ = _admit(table, 50)
    hold(table.head, row, held=True)
    for key in range(100, 1_000):
        assert _admit(table, key, NOW + 60.0) == (-1, False)

    assert table.row_of(50) == row
    assert table.head.stats[REFUSED] == 900


def test_customers_leave_one_way_open_to_strangers() -> None:
    """Of passwords that are guessed nothing would be seen while more customers come than a table has rows."""
    table = _full_of_customers()
    row, _ = _admit(table, 50)
    for key in range(100, 1_000):
        assert _admit(table, key, NOW + 0.5 * WEIGHT_TAU_S, success=True)[1]

    assert table.row_of(50) == row


def test_a_stranger_who_is_silent_leaves_the_open_way() -> None:
    """A suspect of last week would shut the open way to those who come today."""
    table = _full_of_customers()
    row, _ = _admit(table, 50)
    hold(table.head, row, held=True)

    assert _admit(table, 99, NOW + 1.5 * WEIGHT_TAU_S, success=True) == (row, True)
    assert table.row_of(50) == -1
    assert _admit(table, 51, NOW + 1.5 * WEIGHT_TAU_S)[1]


def test_a_success_counts_for_seven_days() -> None:
    """A customer of last year would keep a row for ever, and the table would be full of them."""
    for age, kept in ((SUCCESS_KEEP_S - 1.0, WAYS - 1), (SUCCESS_KEEP_S + 1.0, 0)):
        table = _full_of_customers()
        for key in range(100, 200):
            for _ in range(100 - WAYS):  # heavier than the customers were
                _admit(table, key, NOW + age)
        assert sum(table.row_of(key) >= 0 for key in range(1, WAYS + 1)) == kept


def test_a_new_customer_gets_in_among_customers() -> None:
    """A site with more customers than rows must watch the busy ones, whenever they came."""
    table = _full_of_customers()

    assert _admit(table, 99, success=True)[1]


def test_suspicion_holds_two_rows_of_a_set_and_no_more() -> None:
    """Ten million keys, each just suspicious enough to be kept, would fill the table."""
    table = _table()
    for key in range(1, WAYS + 1):
        for _ in range(20 - key):  # the first are the heaviest
            row, _ = _admit(table, key)
        hold(table.head, row, held=True)
    for key in range(100, 200):
        for _ in range(50):  # heavier than any of them, but not suspicious
            _admit(table, key)

    kept = [key for key in range(1, WAYS + 1) if table.row_of(key) >= 0]
    assert kept == [1, 2]
    assert len(kept) == HELD_WAYS


def test_a_released_row_is_plain_again() -> None:
    """What was suspicious once would hold its row for ever."""
    table = _table()
    for key in range(1, WAYS + 1):
        row, _ = _admit(table, key)
        hold(table.head, row, key == 1)
    hold(table.head, table.row_of(1), held=False)
    for key in range(2, WAYS + 1):
        _admit(table, key)

    _admit(table, 99)

    assert table.row_of(1) == -1


def test_an_evicted_row_hands_nothing_on() -> None:
    """A newcomer would inherit the suspicion, the success or the weight of whoever had the row before."""
    table = _table()
    for key in range(1, WAYS + 1):
        row, _ = _admit(table, key, success=True)
        hold(table.head, row, held=True)
    later = NOW + SUCCESS_KEEP_S + 3600.0

    row, new = _admit(table, 99, later, success=True)

    assert new
    note = _noted(table, row)
    assert (note["weight"], note["last"]) == (1.0, later)
    assert not table.is_held(row)
    assert note["success"] == later


def test_only_who_authenticated_gets_a_row() -> None:
    """Names that anybody can write would fill the tables of principals."""
    table = _table(authenticated_only=True)

    assert _admit(table, 1) == (-1, False)
    assert _admit(table, 1, success=True)[1]
    assert not _admit(table, 1)[1]
    assert table.used == 1


def test_keys_that_come_once_push_out_nobody() -> None:
    """Ten million keys that each come once would take the rows of everybody who comes twice."""
    table = _full_of_customers()
    for key in range(100, 10_000):
        assert _admit(table, key, NOW + 60.0, success=True, at_once=False) == (-1, False)

    assert all(table.row_of(key) >= 0 for key in range(1, WAYS + 1))
    assert table.head.stats[EVICTED] == 0
    assert table.head.stats[REFUSED] == 9_900


def test_who_comes_again_gets_a_row() -> None:
    """A customer who is new where all rows are taken would never be watched."""
    table = _full_of_customers()
    _admit(table, 50, success=True, at_once=False)
    for key in range(100, 100 + DOOR - 1):
        _admit(table, key, success=True, at_once=False)

    assert _admit(table, 50, success=True, at_once=False)[1]


def test_the_door_forgets() -> None:
    """A key of last year would still be taken for one that comes again, and the door would grow without end."""
    table = _full_of_customers()
    _admit(table, 50, success=True, at_once=False)
    for key in range(100, 100 + DOOR):
        _admit(table, key, success=True, at_once=False)

    assert not _admit(table, 50, success=True, at_once=False)[1]


def test_what_may_be_a_finding_does_not_wait() -> None:
    """Who guesses one password at a new address would be seen at the second only."""
    table = _full_of_customers()

    assert _admit(table, 50, at_once=True)[1]


def test_where_there_is_room_nobody_waits() -> None:
    """A small site would learn of each customer from the second event on only."""
    table = _table()

    assert all(_admit(table, key, at_once=False)[1] for key in range(1, WAYS + 1))


@given(st.floats(1e-3, 1e6), st.floats(0.0, 86_400.0), st.floats(1e-3, 1e6), st.floats(0.0, 86_400.0))
def test_the_lightest_is_the_lightest(w: float, age: float, v: float, other_age: float) -> None:
    """A short cut to logarithms that was wrong by more than a few percent would push out the busier customer."""
    table = _table()
    for key in range(1, WAYS + 1):
        _admit(table, key)
    notes = table.head.sets[0]["notes"]
    notes["weight"], notes["last"] = 1e9, NOW
    notes[3]["weight"], notes[3]["last"] = w, NOW - age
    notes[5]["weight"], notes[5]["last"] = v, NOW - other_age
    real = {way: weight_at(table.head, way, NOW) for way in (3, 5)}

    row, _ = _admit(table, 99)

    assert row in real
    assert real[row] <= min(real.values()) * 1.02


_ops = st.lists(
    st.tuples(st.integers(0, 40), st.floats(-1e4, 1e6), st.booleans(), st.booleans(), st.booleans()),
    min_size=1,
    max_size=200,
)


@given(_ops, st.booleans())
def test_invariants_of_any_history(ops: list[tuple[int, float, bool, bool, bool]], authenticated_only: bool) -> None:
    """A key in two rows would be counted twice; a count of rows that is off moves every threshold."""
    table = _table(16, authenticated_only=authenticated_only)
    nbytes = table.nbytes
    for key, age, success, held, at_once in ops:
        row, new = _admit(table, key, NOW + age, success=success, at_once=at_once)
        if row >= 0:
            assert _noted(table, row)["key"] == key
            hold(table.head, row, held)
        if new and authenticated_only:
            assert success

    keys = table.head.sets["keys"]
    keys = keys[keys != 0]
    assert len(set(keys.tolist())) == len(keys)
    assert used_rows(table.head) == table.used == len(keys)
    assert table.nbytes == nbytes
    assert all(weight_at(table.head, row, NOW) >= 0.0 for row in range(table.capacity))


def test_snapshot_is_a_copy_and_comes_back_whole() -> None:
    """A snapshot that goes on changing while it is written would restore a state that never was."""
    table = _table(64)
    for key in _keys():
        row, _ = _admit(table, key, success=key % 2 == 0)
        table.rows["count"][row] = key
        if key == 40:
            break
    saved = table.snapshot()
    _admit(table, 1000)
    other = _table(64)
    other.restore(saved)

    assert other.row_of(1000) == -1
    assert {int(other.rows["count"][other.row_of(k)]) for k in range(1, 41) if other.row_of(k) >= 0} <= set(
        range(1, 41)
    )
    for name, array in other.snapshot().items():
        np.testing.assert_array_equal(saved[name], array)


def test_a_foreign_snapshot_is_refused_and_changes_nothing() -> None:
    """Half of another table's state is worse than none."""
    table = _table(64)
    _admit(table, 5)
    before = table.snapshot()
    larger = _table(128)
    for key in range(1, 30):
        _admit(larger, key)
    broken = {**_table(64).snapshot(), "rows": np.zeros(64, [("other", np.int8)])}

    for foreign in (larger.snapshot(), broken, {}):
        with pytest.raises(StateError, match="does not fit"):
            table.restore(foreign)
    for name, array in table.snapshot().items():
        np.testing.assert_array_equal(before[name], array)
