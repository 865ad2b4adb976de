"""Times of events: live ones within bounds, history as it happened."""

from __future__ import annotations

import numpy as np

from gatewatch.clock import ManualClock
from gatewatch.ingest.bounds import FUTURE_S, HISTORY_SPAN_S, PAST_S, TimeBounds

NOW = 1_700_000_000.0


def test_live_times_stay_and_broken_clocks_are_moved_and_marked() -> None:
    """If this fails, one broken clock moves a key's baseline by years, or good events are marked late."""
    bounds = TimeBounds(ManualClock(NOW))
    ts = np.full(30, NOW - 1.0)
    ts[3], ts[5] = 0.0, NOW + 1e6
    moved_ts, moved = bounds.move(ts)
    assert np.flatnonzero(moved).tolist() == [3, 5]
    assert moved_ts[3] == NOW - PAST_S
    assert moved_ts[5] == NOW + FUTURE_S
    assert not bounds.history
    assert bounds.now == NOW


def test_an_old_log_on_kafka_is_history_and_not_one_burst() -> None:
    """If this fails, somebody who produces last year's log gets every event at one instant, and a false burst."""
    bounds = TimeBounds(ManualClock(NOW))
    ts = np.linspace(NOW - 400 * 86400.0, NOW - 399 * 86400.0, 100)
    moved_ts, moved = bounds.move(ts)
    assert bounds.history
    assert not moved.any()
    np.testing.assert_array_equal(ts, moved_ts)
    assert bounds.now == ts[-1]


def test_history_ends_when_the_data_reaches_today() -> None:
    """If this fails, a worker that caught up on a backlog goes on without the bounds of live events."""
    bounds = TimeBounds(ManualClock(NOW))
    bounds.move(np.full(50, NOW - 30 * 86400.0))
    bounds.move(np.full(50, NOW - 10.0))
    assert not bounds.history


def test_one_wild_time_in_history_is_moved() -> None:
    """If this fails, one event of 2099 in a replayed file ends all windows of the file."""
    bounds = TimeBounds(None)
    ts = np.full(50, 1e9)
    ts[7] = 4e9
    moved_ts, moved = bounds.move(ts)
    assert np.flatnonzero(moved).tolist() == [7]
    assert moved_ts[7] == 1e9 + HISTORY_SPAN_S


def test_numbers_that_are_none_get_a_time_within_bounds() -> None:
    """If this fails, a NaN time spreads through every decayed counter of its key."""
    bounds = TimeBounds(ManualClock(NOW))
    moved_ts, moved = bounds.move(np.array([np.nan, np.inf, -np.inf, NOW]))
    assert np.isfinite(moved_ts).all()
    assert moved.tolist() == [True, True, True, False]
