"""Rarity of scores."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewatch.adapters.tail import LEAST, RING, Tail


def filled(scores: list[float]) -> Tail:
    """A tail that has learned those."""
    tail = Tail()
    for score in scores:
        tail.learn(score)
    return tail


def test_too_few_scores_are_no_opinion() -> None:
    """Otherwise the second event of a new installation would be told as the strangest of two."""
    assert filled([0.0] * (LEAST - 1)).rarity(1e9).nats == 0.0


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_nats_mean_what_they_say(scale: float) -> None:
    """Otherwise the budget of false alarms is spent many times over: of 10 e^n events one may reach n nats."""
    rng = np.random.default_rng(1)
    tail = filled((rng.exponential(size=RING) * scale).tolist())
    nats = []
    for score in (rng.exponential(size=100_000) * scale).tolist():
        nats.append(tail.rarity(score).nats)
        tail.learn(score)
    for level in (2.0, 4.6, 6.9):
        expected = 100_000 * math.exp(-level)
        assert 0.7 * expected <= (np.array(nats) >= level).sum() <= 1.4 * expected


@given(st.lists(st.floats(-1e6, 1e6), min_size=LEAST, max_size=300), st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_a_higher_score_is_never_less_rare(scores: list[float], score: float, more: float) -> None:
    """Otherwise an attacker would be told of less for doing more."""
    tail = filled(scores)
    assert tail.rarity(score).nats <= tail.rarity(score + more).nats + 1e-9


def test_what_is_beyond_the_past_is_bounded_and_ordered() -> None:
    """Otherwise a hundred events could claim a p-value of 1e-300, or all monsters would look alike."""
    tail = filled(np.linspace(0.0, 1.0, 200).tolist())
    far, farther = tail.rarity(1e3).nats, tail.rarity(1e6).nats
    assert tail.floor_nats == pytest.approx(math.log(2000.0))
    assert tail.floor_nats < far < farther < tail.floor_nats + 14.0


def test_the_needed_score_is_the_border() -> None:
    """Otherwise the counterfactual of an alert is a lie."""
    rng = np.random.default_rng(2)
    tail = filled(rng.gamma(2.0, size=2000).tolist())
    for nats in (4.5, 6.0, 9.0):
        _edge, needed = tail.edge_and_needed(nats)
        assert tail.rarity(needed - 1e-9).nats < nats + 1e-6
        assert tail.rarity(needed + 1e-6).nats >= nats - 1e-3


def test_a_ring_forgets() -> None:
    """Otherwise scores on an old scale decide for ever."""
    tail = filled([100.0] * 50 + [float(i % 7) for i in range(RING)])
    assert tail.rarity(50.0).fitted > 5.0
