"""Figures of an evaluation against values worked out by hand or known from tables."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from gatewatch.tune import evaluate_stats as stats


def test_a_share_has_the_exact_interval() -> None:
    """If this fails, "10 of 10 caught" is shown as if it were certain: the truth may be 69 %."""
    found = stats.share(10, 10)
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.025 ** (1 / 10))  # Clopper and Pearson, all hits
    assert math.isnan(stats.share(0, 0).value)


def test_nothing_seen_is_not_nothing_possible() -> None:
    """If this fails, a quiet week is shown as "no false alarms ever"."""
    found = stats.rate(np.zeros(7), np.ones(7))
    assert (found.value, found.low) == (0.0, 0.0)
    assert found.high == pytest.approx(-math.log(0.025) / 7)  # Poisson: exp(-7 x) = .025


def test_the_bootstrap_resamples_whole_units() -> None:
    """If this fails, one noisy key is taken for many independent false alarms and the interval is far too narrow."""
    alarms = np.zeros(100)
    alarms[0] = 50.0
    found = stats.rate(alarms, np.ones(100))
    assert found.value == 0.5
    assert found.low == 0.0  # the noisy key is left out of every third resample
    assert found.high == pytest.approx(1.5, abs=0.51)  # it is drawn three times, at most four, in 97.5 %
    spread = stats.rate(np.ones(100), np.ones(100))
    assert (spread.low, spread.high) == (1.0, 1.0)


def test_the_bootstrap_agrees_with_theory_where_there_is_one() -> None:
    """If this fails, intervals of false alarms are not 95 % intervals."""
    counts = np.random.default_rng(2).poisson(4.0, 400).astype(np.float64)
    found = stats.rate(counts, np.ones(400))
    half = 1.96 * counts.std() / math.sqrt(400)
    assert found.low == pytest.approx(counts.mean() - half, abs=0.03)
    assert found.high == pytest.approx(counts.mean() + half, abs=0.03)


def test_intervals_are_the_same_each_time() -> None:
    """If this fails, two evaluations of one file differ and nobody can compare settings."""
    counts = np.arange(30.0)
    assert stats.rate(counts, np.ones(30)) == stats.rate(counts, np.ones(30))
    assert stats.median(counts) == stats.median(counts)


def test_tpr_at_fpr_by_hand() -> None:
    """If this fails, the one figure that people compare detectors by is wrong."""
    benign = np.array([0.0] * 997 + [5.0, 6.0, 7.0])
    hostile = np.array([0.0, 5.5, 6.0, 6.5, 8.0])
    assert stats.tpr_at_fpr(benign, hostile, 1e-3) == (0.4, 6.0)  # one benign event may pass: 7.0
    assert stats.tpr_at_fpr(benign, hostile, 2e-3) == (0.8, 5.0)
    assert stats.tpr_at_fpr(benign, hostile, 0.0) == (0.2, 7.0)
    assert math.isnan(stats.tpr_at_fpr(benign, np.zeros(0), 1e-3)[0])


def test_silence_is_no_detection_at_any_rate() -> None:
    """If this fails, a detector that says nothing is credited with everything once the rate is high enough."""
    assert stats.tpr_at_fpr(np.zeros(10), np.zeros(10), 1.0)[0] == 0.0


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=60),
    st.lists(st.integers(0, 5), min_size=1, max_size=30),
    st.sampled_from([0.0, 0.01, 0.1, 0.5]),
)
def test_no_more_benign_events_pass_than_allowed(benign: list[int], hostile: list[int], fpr: float) -> None:
    """If this fails, ties let more false positives through than the figure claims, and the share looks better."""
    low, high = np.array(benign, np.float64), np.array(hostile, np.float64)
    share, threshold = stats.tpr_at_fpr(low, high, fpr)
    assert (low > threshold).mean() <= fpr + 1e-9
    assert share == (high > threshold).mean()
    below = [level for level in range(6) if level < threshold]
    assert all((low > level).mean() > fpr for level in below)  # no smaller threshold would have done


def test_auc_counts_ties_half() -> None:
    """If this fails, a score of few values is flattered or slandered."""
    assert stats.roc_auc(np.zeros(5), np.zeros(3)) == 0.5
    benign, hostile = np.random.default_rng(1).normal(size=(2, 50))
    expected = scipy_stats.mannwhitneyu(hostile, benign).statistic / 2500
    assert stats.roc_auc(benign, hostile) == pytest.approx(expected)
