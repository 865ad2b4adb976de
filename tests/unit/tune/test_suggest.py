"""The settings that follow from prices."""

from __future__ import annotations

import yaml

from gatewatch.settings import Settings, parse
from gatewatch.tune.suggest import BUDGETS, Advice, LimitPrices, Price, _conclude


def _advice(days: float, alarms: list[float], keys: list[int]) -> Advice:
    limit = LimitPrices("rate_spike", "requests_per_minute", 3000.0)
    steps = (90.0, 300.0, 900.0, 3000.0, 9000.0)
    limit.steps = [Price(value, k, k / days, k) for value, k in zip(steps, keys, strict=True)]
    advice = Advice(1000, days, 1.0, limits=[limit])
    advice.budgets = [Price(b, round(a * days), a, 1) for b, a in zip(BUDGETS, alarms, strict=True)]
    _conclude(advice)
    return advice


def test_the_most_sensitive_that_is_still_bearable() -> None:
    """If this fails, the advice costs more alarms than the user said he bears, or gives away detection for nothing."""
    advice = _advice(7.0, [0.0, 0.1, 0.2, 0.9, 4.0], [50, 7, 0, 0, 0])
    assert advice.suggested_budget == 3.0
    assert advice.limits[0].suggested == 900.0


def test_too_noisy_a_file_gets_the_strictest_budget_and_no_limit() -> None:
    """If this fails, there is no advice just where it is needed most."""
    advice = _advice(7.0, [2.0, 3.0, 4.0, 5.0, 6.0], [50, 40, 30, 20, 10])
    assert advice.suggested_budget == 0.1
    assert advice.limits[0].suggested is None


def test_the_diff_is_of_settings_that_are_accepted() -> None:
    """If this fails, what a user pastes into the settings file is refused."""
    advice = _advice(7.0, [0.0, 0.1, 0.2, 0.9, 4.0], [50, 7, 0, 0, 0])
    parse(advice.changes(), Settings)
    lines = advice.diff().splitlines()
    assert "-  false_alarms_per_day: 1.0" in lines
    assert "+  false_alarms_per_day: 3.0" in lines
    added = [line[1:] for line in lines[3:] if line[:1] in "+ "]
    assert yaml.safe_load("\n".join(added)) == advice.changes()


def test_less_than_a_day_changes_nothing() -> None:
    """If this fails, an hour at night decides what a working day must look like."""
    assert _advice(0.5, [0.0] * 5, [0] * 5).diff() == ""
