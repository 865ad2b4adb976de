"""The chain of `actions`: whatever is done to it is found and named."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewatch.notify.chain import Fault, Link, Report, link_of, seal, verify

Records = list[tuple[int, bytes]]


def chain(*lives: int, start: int = 0) -> Records:
    """Records of several writers after one another, so many of each."""
    records: Records = []
    before: Link | None = None
    for life, n in enumerate(lives):
        for i in range(n):
            value, before = seal({"kind": "notify", "n": i, "text": 'quote " and ü'}, f"notify-a-0@{life}", before)
            records.append((start + len(records), value))
    return records


def renumbered(records: Records) -> Records:
    """As they would stand in a topic that was written anew."""
    return [(offset, value) for offset, (_, value) in enumerate(records)]


def faults(report: Report) -> list[tuple[Fault, int]]:
    """What is wrong, with the number in its writer's chain."""
    return [(p.fault, p.seq) for p in report.problems]


def test_a_whole_chain_has_nothing_wrong_and_a_head() -> None:
    """If this fails, an honest record is called forged, and nobody looks at the tool again."""
    records = chain(5, 1, 7)
    report = verify(records)
    assert report.problems == []
    assert (report.records, report.writers) == (13, 3)
    assert report.head == link_of(records[-1][1])


def test_records_of_others_do_not_break_it() -> None:
    """If this fails, each refusal of a guard in the same topic is reported as a forgery."""
    records = chain(3)
    mixed = [records[0][1], b'{"kind":"refusal","guard":"x"}', records[1][1], b"no JSON", records[2][1]]
    report = verify(list(enumerate(mixed)))
    assert (report.problems, report.unchained) == ([], 2)


def test_what_retention_removed_is_no_fault() -> None:
    """If this fails, the record is called forged a month after the installation."""
    assert verify(chain(6, 4)[3:]).problems == []
    assert verify(chain(6, 4)[8:]).problems == []


def test_two_writers_that_overlap_break_nothing() -> None:
    """If this fails, a worker that lost its lease while it sent makes the record look forged."""
    old = chain(4)
    tail = link_of(old[1][1])
    first, link = seal({"kind": "notify"}, "notify-b-0@9", tail)
    second, _ = seal({"kind": "notify"}, "notify-b-0@9", link)
    values = [old[0][1], old[1][1], first, old[2][1], second, old[3][1]]
    assert verify(list(enumerate(values))).problems == []


def test_the_end_of_a_chain_is_vouched_for_by_the_next_writer() -> None:
    """If this fails, the last things that a worker did before its restart can be removed unseen."""
    records = chain(3, 2)
    assert faults(verify(renumbered([*records[:2], *records[3:]]))) == [(Fault.MISSING, 2)]
    records[2] = (2, seal({"kind": "notify", "forged": True}, "notify-a-0@0", link_of(records[1][1]))[0])
    assert faults(verify(records)) == [(Fault.CHANGED, 2)]


def test_a_forged_record_with_a_right_hash_is_named() -> None:
    """If this fails, whoever knows the scheme can change a record unseen."""
    records = chain(5)
    records[2] = (2, seal({"kind": "notify", "forged": True}, "notify-a-0@0", link_of(records[1][1]))[0])
    assert faults(verify(records)) == [(Fault.CHANGED, 2)]


@given(st.data())
def test_any_change_of_a_byte_is_found_and_named(data: st.DataObject) -> None:
    """If this fails, a record can be altered without anybody noticing."""
    records = chain(4, 3)
    at = data.draw(st.integers(0, 6))
    value = bytearray(records[at][1])
    byte = data.draw(st.integers(0, len(value) - 1))
    value[byte] ^= data.draw(st.integers(1, 127))
    records[at] = (at, bytes(value))
    report = verify(records)
    assert report.problems or report.head != link_of(chain(4, 3)[-1][1])
    if at < 6:
        near = {at, at + 1} if report.unchained else {at}
        assert report.problems
        assert min(abs(p.offset - n) for p in report.problems for n in near) <= 1


@given(st.sets(st.integers(0, 8), min_size=1, max_size=8))
def test_any_removal_is_found(gone: set[int]) -> None:
    """If this fails, somebody removes the record that they were told, and says they never were."""
    records = chain(5, 5)
    left = [(offset, value) for offset, value in records if offset not in gone]
    report = verify(left)
    prefix = gone == set(range(len(gone)))  # the same as retention does: begins later, and is whole
    assert (report.problems == []) == prefix
    assert all(p.fault is Fault.MISSING for p in report.problems)


@given(st.permutations(range(8)))
def test_any_reordering_is_found(order: list[int]) -> None:
    """If this fails, what came first can be made to look as if it came after."""
    records = chain(8)
    report = verify([(offset, records[i][1]) for offset, i in enumerate(order)])
    assert (report.problems == []) == (order == sorted(order))
    assert {p.fault for p in report.problems} <= {Fault.REORDERED}


def test_a_record_that_stands_twice_is_found() -> None:
    """If this fails, one delivery can be made to look like two."""
    records = chain(3)
    assert faults(verify(renumbered([*records, records[1]]))) == [(Fault.REPEATED, 1)]


@pytest.mark.parametrize("field", ["writer", "seq", "prev", "hash"])
def test_a_record_without_its_link_is_a_gap(field: str) -> None:
    """If this fails, a record can be taken out of the chain by breaking it."""
    records = chain(3)
    broken = {k: v for k, v in msgspec.json.decode(records[1][1]).items() if k != field}
    records[1] = (1, msgspec.json.encode(broken))
    assert faults(verify(records)) == [(Fault.MISSING, 1)]
