"""What the scores of a class have been moves its thresholds to where the budget is, within bounds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewatch.state.calibrator import DAY_S, MOST_NATS, advance, fresh_calibrators, judged

HOUR_S = 3600.0
SHARE = 0.1  # alarms a day


def run(
    days: float, rng: np.random.Generator, *, off: float = 0.0, scale: float = 1.0, c: Any = None
) -> tuple[Any, Any]:
    """A class whose true tail has ``scale`` times the model's, and lies ``off`` nats from it, for so many days.

    Returns:
        its calibrator, and the days on which a score was above the calibrated threshold.
    """
    c = fresh_calibrators(1)[0] if c is None else c
    told = []
    for hour in range(round(24 * days)):
        advance(c, hour * HOUR_S, SHARE, HOUR_S)
        place = -scale * math.log(24.0 * rng.exponential()) + off  # the highest of Poisson many in an hour
        margin = place + math.log(SHARE)
        judged(c, margin)
        if margin >= c["shift"]:
            told.append(hour / 24.0)
    return c, np.array(told)


@pytest.mark.parametrize(("off", "scale"), [(0.0, 1.0), (-3.0, 1.0), (-2.0, 0.7), (2.0, 1.0), (1.0, 1.5)])
def test_the_budget_is_reached_whatever_the_model_is_off_by(off: float, scale: float) -> None:
    """If it failed, a budget of one a day would mean one a month on one site and twenty a day on the next."""
    told = np.concatenate([run(160, np.random.default_rng(seed), off=off, scale=scale)[1] for seed in range(8)])
    rate = (told >= 40).sum() / (8 * 120)
    assert SHARE / 4.0 <= rate <= 4.0 * SHARE  # the models are off by up to seven times


def test_a_right_model_is_left_alone() -> None:
    """If it failed, thresholds would wander on a site that the model fits."""
    shifts = [float(run(90, np.random.default_rng(seed))[0]["shift"]) for seed in range(8)]
    assert abs(np.mean(shifts)) < 0.5
    assert max(map(abs, shifts)) < 1.5


def test_nothing_is_lowered_in_the_first_week_and_nothing_said_on_the_first_day() -> None:
    """If it failed, the first weekly job after a calm week would alarm at a threshold that knows no weeks."""
    assert run(7, np.random.default_rng(1), off=-3.0)[0]["shift"] == 0.0
    assert run(1.9, np.random.default_rng(1), off=3.0)[0]["shift"] == 0.0
    assert run(6, np.random.default_rng(1), off=3.0)[0]["shift"] > 0.5
    assert run(21, np.random.default_rng(1), off=-3.0)[0]["shift"] < -0.5


def test_being_caught_teaches_nothing() -> None:
    """If it failed, an attacker would lift the threshold for the next attack by alarming often."""
    calm, _ = run(60, np.random.default_rng(2))
    c = fresh_calibrators(1)[0]
    rng = np.random.default_rng(2)
    for hour in range(60 * 24):
        advance(c, hour * HOUR_S, SHARE, HOUR_S)
        judged(c, -math.log(24.0 * rng.exponential()) + math.log(SHARE))
        if hour % 3 == 0:
            judged(c, 30.0)
    assert abs(c["shift"] - calm["shift"]) < 1.0
    assert c["days"] < calm["days"]


def test_what_a_lowered_threshold_lets_through_counts() -> None:
    """If it failed, a class once lowered would alarm every day and never rise again."""
    c, _ = run(60, np.random.default_rng(3), off=-4.0)
    low = float(c["shift"])
    assert low < -1.5
    for hour in range(60 * 24, 90 * 24):  # from now on something comes twice a day, between both thresholds
        advance(c, hour * HOUR_S, SHARE, HOUR_S)
        judged(c, 0.5 * low if hour % 12 == 0 else -9.0)
    assert c["shift"] > 0.5 * low


def test_no_wave_of_scores_below_it_lifts_a_threshold_without_end() -> None:
    """If it failed, somebody who keeps just below a threshold could blind it for everybody."""
    c = fresh_calibrators(1)[0]
    for hour in range(90 * 24):
        advance(c, hour * HOUR_S, SHARE, HOUR_S)
        judged(c, max(0.0, float(c["shift"])) - 0.01)
    assert c["shift"] == pytest.approx(MOST_NATS)


def test_times_that_go_back_change_nothing() -> None:
    """If it failed, late rows would close blocks that are closed, and count an hour twice."""
    c, _ = run(30, np.random.default_rng(4))
    before = c.copy()
    for t in (0.0, 29 * DAY_S, 29.5 * DAY_S):
        advance(c, t, SHARE, HOUR_S)
    assert c == before


@given(
    st.lists(st.tuples(st.floats(0.0, 1e7), st.floats(allow_nan=False, width=32)), min_size=1, max_size=60),
    st.floats(1e-6, 1e4),
)
def test_whatever_comes_the_shift_stays_within_its_bounds(steps: list[tuple[float, float]], share: float) -> None:
    """If it failed, one absurd score could switch a detector off, or make it fire at everything."""
    c = fresh_calibrators(1)[0]
    t = 0.0
    for step_s, margin in steps:
        t += step_s
        advance(c, t, share, HOUR_S)
        judged(c, margin)
        assert -MOST_NATS <= c["shift"] <= MOST_NATS
        assert np.isfinite(c["days"])
        assert (c["counts"] >= 0.0).all()
