"""The NAB scorer against the example that its authors published, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from nab import Series, best_score, rested, scaled_sigmoid, score_detections

WINDOW = [(100, 199)]


def test_the_published_example_of_the_sigmoid() -> None:
    """If this fails, our score is not comparable with NAB's (Lavin and Ahmad 2015, figure 2: -.8093 shortly behind)."""
    assert scaled_sigmoid(0.45) == pytest.approx(-0.8093, abs=1e-4)
    assert scaled_sigmoid(-2.0) == pytest.approx(0.9999, abs=1e-4)
    assert scaled_sigmoid(3.5) == -1.0


def test_the_published_example_of_a_window() -> None:
    """If this fails, one of the paper's four detections (before, inside, just behind, far behind) counts wrongly.

    There the weights of false positives are 1; here .11, as the standard profile has it.
    """
    before, inside, behind, far = 10, 100, 199 + 45, 1000
    found = score_detections([before, inside, behind, far], WINDOW, 0)
    width = 99  # from first to last value
    assert found == pytest.approx(1.0 + 0.11 * (-1.0 + scaled_sigmoid(45 / width) - 1.0))


@pytest.mark.parametrize(("at", "share"), [(100, 1.0), (150, 0.848284 / 0.986614), (199, 0.024995 / 0.986614)])
def test_earlier_is_better(at: int, share: float) -> None:
    """If this fails, a detection at the end of a window counts like one at its start: tanh(2.5 y), y its place."""
    assert score_detections([at], WINDOW, 0) == pytest.approx(share, abs=1e-5)


def test_only_the_first_inside_counts_and_probation_is_exempt() -> None:
    """If this fails, many alarms in one window add up, or the first values, which nobody can judge, are judged."""
    assert score_detections([100, 120, 150], WINDOW, 0) == 1.0
    assert score_detections([10, 20], WINDOW, 50) == -1.0  # both exempt, the window missed
    assert score_detections([10], [], 0) == -0.11


def test_silence_is_0_and_perfection_100() -> None:
    """If this fails, the scale is not NAB's."""
    perfect = np.zeros(1000)
    perfect[100] = 5.0
    series = Series("x", np.zeros(1000), WINDOW, 50, 0)
    assert best_score([(perfect, series)])[0] == pytest.approx(100.0)
    late = np.zeros(1000)
    late[900] = 5.0
    assert best_score([(late, series)])[0] == pytest.approx(100.0 * -0.11 / 2)


def test_an_alarm_is_told_once_until_there_is_more() -> None:
    """If this fails, one anomaly is told at each of its values, and each counts as a false positive behind a window."""
    assert rested(np.array([1.0, 1.0, 2.0, 1.5, 0.0, 1.0]), 3.0).tolist() == [1.0, 0.0, 2.0, 0.0, 0.0, 0.0]
    assert rested(np.array([2.0, 0.0, 0.0, 0.0, 0.0, 1.0]), 3.0).tolist()[-1] == 1.0
