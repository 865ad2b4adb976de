"""The words of the last page: true, short, and safe to print."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gatewatch.demo import page
from gatewatch.demo.run import Plan, Result
from gatewatch.demo.score import Scoreboard, Verdict
from gatewatch.testing.alerts import alert

_CAUGHT = Verdict(
    attack="cracking", first_ts=1772600000.0, events=400, needs="detector credential_stuffing on ip", covered=True,
    detector="credential_stuffing", title="Password cracking", alert_id="a1", after_s=16.2, events_named=400,
    blocked_after_s=20.0, events_after_block=399,
)  # fmt: skip
_MISSED = Verdict(
    attack="spike", first_ts=1772600000.0, events=10, needs="detector rate_spike on principal", covered=True
)


def _result(*verdicts: Verdict) -> Result:
    board = Scoreboard(verdicts=list(verdicts), days=2.0)
    return Result(
        plan=Plan(seed=1, rate=8.0, hours=48.0), board=board, episodes=(), services=80, people=1200, events=1_000_000,
        dead=0, alerts={}, shadows=0, wall_s=40.0, detectors=("credential_stuffing",),
    )  # fmt: skip


def test_a_catch_says_who_how_fast_and_what_a_block_was_worth() -> None:
    """A newcomer would not see what the product has done."""
    text = page.told(_CAUGHT)
    assert page.status(_CAUGHT) == "caught"
    assert "by credential_stuffing (Password cracking) after 16 s" in text
    assert "100 % of its 400 requests" in text
    assert "blocked after 20 s, when 99 % were still to come" in text


def test_a_miss_is_said_in_capitals_with_the_detector_that_failed() -> None:
    """A regression would be overlooked."""
    assert page.status(_MISSED) == "MISSED"
    assert page.told(_MISSED) == "detector rate_spike on principal should have seen it"


def test_what_no_detector_is_made_for_is_not_called_missed() -> None:
    """Honest gaps would look like defects, or defects like gaps."""
    unseen = replace(_MISSED, covered=False, others=("credential_stuffing",))
    assert page.status(unseen) == "not seen"
    assert page.told(unseen) == (
        "needs detector rate_spike on principal, which is not shipped yet; credential_stuffing happened to report the "
        "same key"
    )


def test_the_summary_counts_only_what_a_detector_is_made_for() -> None:
    """The share of attacks caught would depend on what has not been written yet."""
    lines = list(page.summary(_result(_CAUGHT, _MISSED, replace(_MISSED, covered=False))))
    assert "Attacks that the detectors here are made for: 1 of 2 caught." in lines
    assert "Attacks that are made for detectors of later versions: 1." in lines
    assert any("1,000,000 requests of 80 services and 1,200 people in 40 s" in line for line in lines)
    assert any("25,000 a second" in line for line in lines)
    assert "False alarms (alerts about no attack): 0 in 48 hours, 0.0 a day." in lines


def test_an_alert_about_gatewatch_itself_is_shown_and_is_no_false_alarm() -> None:
    """The page would say "no false alarm" and hide that blocks were held back, or call that a false alarm."""
    result = _result(_CAUGHT)
    result.board.about_us.append(
        alert(detector="gatewatch", reason="breaker", summary="Blocks are held back: 31 a minute")
    )
    lines = list(page.summary(result))
    assert "False alarms (alerts about no attack): 0 in 48 hours, 0.0 a day." in lines
    assert "1 alert about Gatewatch itself, counted apart: breaker 1." in lines
    assert any("Blocks are held back" in line for line in lines)
    written = page.as_json(result)
    assert written["false_alarms"] == []
    assert [alarm["reason"] for alarm in written["about_gatewatch"]] == ["breaker"]


@pytest.mark.parametrize("seconds", [1.0, 10.0, 30.0, 600.0])
def test_a_plan_is_a_pure_function_of_its_options(seconds: float) -> None:
    """The same command would give another run on another machine, and results could not be compared."""
    plan = Plan.lasting(seconds, seed=4)
    assert plan == Plan.lasting(seconds, seed=4)
    assert 3.0 <= plan.rate <= 40.0
    assert plan.rate >= Plan.lasting(seconds / 2, seed=4).rate


def test_json_holds_every_attack_and_only_two_numbers_that_vary() -> None:
    """A program that compares two runs would see differences where there are none."""
    fast, slow = _result(_CAUGHT, _MISSED), replace(_result(_CAUGHT, _MISSED), wall_s=80.0)
    one, other = page.as_json(fast), page.as_json(slow)
    assert [attack["attack"] for attack in one["attacks"]] == ["cracking", "spike"]
    assert not one["passed"]
    assert {key for key in one if one[key] != other[key]} == {"wall_s", "events_per_s"}
