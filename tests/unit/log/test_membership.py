"""What a rebalance means, told apart from what the client calls it."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from gatewatch.clock import ManualClock
from gatewatch.errors import LogError
from gatewatch.log.base import TopicPartition
from gatewatch.log.membership import LAST_COMMIT_S, Membership, commit_rest, is_of

A, B, C = (TopicPartition("t", p) for p in range(3))


def _owner(*tps: TopicPartition) -> Membership:
    members = Membership()
    members.assigned(tps, unbroken=True)
    members.take()
    return members


def test_only_what_changed_hands_is_told() -> None:
    """Every join of a worker would make all others drop and rebuild all their state."""
    members = _owner(A, B)
    members.revoking([A, B])
    assert members.assigned([B, C], unbroken=True) == [C]
    news = members.take()
    assert (news.revoked, news.assigned, news.lost) == ((A,), (C,), ())
    assert not members.take()


def test_marks_outlive_a_rebalance_for_what_was_kept() -> None:
    """Offsets marked before a rebalance whose commit failed would not be committed until the next mark."""
    members = _owner(A, B)
    members.mark(A, 5)
    members.mark(B, 7)
    assert members.revoking([A, B]) == {A: 5, B: 7}
    members.assigned([B], unbroken=True)
    assert members.take_marks() == {B: 7}


def test_marks_put_back_do_not_go_backwards() -> None:
    """A commit that failed would undo the mark that was made meanwhile, or revive one of a lost partition."""
    members = _owner(A, B)
    members.mark(A, 5)
    members.mark(B, 5)
    marks = members.take_marks()
    members.mark(A, 9)
    members.lose([B])
    members.put_back(marks)
    assert members.take_marks() == {A: 9}


def test_what_somebody_else_may_have_had_in_between_is_taken_and_given_again() -> None:
    """A task would go on with state that another worker has moved past."""
    members = _owner(A, B)
    members.next_offset[A] = 10
    assert members.assigned([A, C], unbroken=False) == [A, C]
    news = members.take()
    assert (news.revoked, news.assigned) == ((A, B), (A, C))
    assert members.take_renewed() == {A}
    assert A not in members.next_offset


def test_lost_partitions_may_not_be_marked() -> None:
    """A late acknowledgement would commit for a partition that somebody else owns."""
    members = _owner(A, B)
    members.lose([A])
    members.mark(A, 5)
    assert members.take_marks() == {}
    assert members.take().lost == (A,)
    with pytest.raises(LogError, match="t-0 is not assigned"):
        members.check_owned([A])


def test_an_assignment_that_was_lost_before_it_was_told_is_not_told() -> None:
    """A task would be opened for a partition that is gone."""
    members = Membership()
    members.assigned([A, B], unbroken=True)
    members.lose([A, B])
    members.assigned([B], unbroken=True)
    news = members.take()
    assert (news.lost, news.assigned) == ((A, B), (B,))


def test_offsets_that_go_back_are_an_error() -> None:
    """A topic that was made again would be read as the old one: its first events taken for repeats."""
    members = _owner(A)
    members.polled(A, [5, 6, 9])
    members.polled(A, [10])
    with pytest.raises(LogError, match="made again"):
        members.polled(A, [0, 1])


def test_nothing_counts_after_close() -> None:
    """A clean stop would be reported as lost partitions, and commit what was not asked for."""
    members = _owner(A)
    members.mark(A, 3)
    members.closed = True
    assert members.revoking([A]) == {}
    members.lose([A])
    assert not members.take()


def test_either_client_knows_the_commits_of_the_other() -> None:
    """If this fails, changing `kafka.client` reads every source again from its beginning."""
    assert is_of("life-1", "life-1")
    assert is_of("life-1\0", "life-1")
    assert is_of("", "life-1")
    assert not is_of("life-1", "life-2")


def test_what_was_kept_back_is_committed_before_leaving_and_nothing_else() -> None:
    """Marks that nobody asked to commit are not done; those that a rebalance kept back would be done again."""
    members, clock, steps = _owner(A), ManualClock(0.0), list[int]()
    members.mark(A, 5)
    commit_rest(members, "g", clock, lambda: steps.append(1))
    assert steps == []

    members.put_back(members.take_marks())
    commit_rest(members, "g", clock, lambda: steps.append(len(members.take_marks())))
    assert steps == [1]


def test_leaving_does_not_wait_for_ever() -> None:
    """A broker that is away would keep a worker from ending, until it is killed."""
    members, clock = _owner(A), ManualClock(0.0)
    members.mark(A, 5)
    members.put_back(members.take_marks())
    with capture_logs() as logs:
        commit_rest(members, "g", clock, lambda: clock.advance(1.0))

    assert clock.monotonic() == LAST_COMMIT_S
    assert [entry["group"] for entry in logs] == ["g"]


def test_how_long_a_broker_has_been_away_is_counted_from_the_first_commit_that_failed() -> None:
    """A worker would end with the first broker that restarts; or never, and nobody would see that nothing is safe."""
    members = _owner(A)
    members.mark(A, 5)
    assert members.not_committed(members.take_marks(), 100.0) == 0.0
    assert members.kept_back
    assert members.not_committed(members.take_marks(), 130.0) == 30.0
    assert members.take_marks() == {A: 5}
    members.committed()
    assert members.not_committed({}, 200.0) == 0.0
