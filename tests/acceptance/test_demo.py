"""``gatewatch demo``, as somebody runs it who has just cloned the repository."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from gatewatch.demo.coverage import COVERAGE
from gatewatch.registry import load_all

pytestmark = pytest.mark.slow

_VARYING = ("wall_s", "events_per_s")


def _demo(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gatewatch", "demo", *args], capture_output=True, text=True, timeout=280, check=False
    )


@pytest.fixture(scope="module")
def board() -> dict[str, Any]:
    """The scoreboard of a short run."""
    result = _demo("--seconds", "10", "--json")
    assert result.returncode == 0, result.stdout + result.stderr
    printed: dict[str, Any] = json.loads(result.stdout)
    return printed


def test_every_attack_that_a_detector_is_made_for_is_caught(board: dict[str, Any]) -> None:
    """The product would not do what it is for."""
    entries = load_all()
    attacks = {attack["attack"]: attack for attack in board["attacks"]}
    assert set(attacks) == set(COVERAGE)
    for name, sees in COVERAGE.items():
        assert attacks[name]["covered"] is sees.is_in(entries)
        if attacks[name]["covered"]:
            assert attacks[name]["caught"], name
    assert board["passed"]


def test_attacks_on_accounts_are_blocked_while_they_last(board: dict[str, Any]) -> None:
    """An alert that comes when everything is over stops nobody."""
    attacks = {attack["attack"]: attack for attack in board["attacks"]}
    for name in ("stuffing", "spraying", "cracking"):
        assert attacks[name]["detector"] == "credential_stuffing"
        assert attacks[name]["after_s"] < 120
        assert attacks[name]["events_after_block"] > 0.5 * attacks[name]["events"]


def test_nobody_innocent_is_blocked_and_nothing_is_unreadable(board: dict[str, Any]) -> None:
    """The worst thing that a block can do."""
    assert board["wrong_blocks"] == []
    assert board["dead_letters"] == 0


def test_no_detector_gives_a_false_alarm(board: dict[str, Any]) -> None:
    """People would learn to ignore alerts. What Gatewatch says of itself is on the page, but accuses nobody."""
    assert board["false_alarms"] == []
    assert {alarm["reason"] for alarm in board["about_gatewatch"]} <= {"breaker"}


def test_the_same_seed_gives_the_same_scoreboard(board: dict[str, Any]) -> None:
    """A result could not be repeated, nor a regression be found."""
    again = json.loads(_demo("--seconds", "10", "--json").stdout)
    for name in _VARYING:
        assert again.pop(name) > 0
    assert again == {key: value for key, value in board.items() if key not in _VARYING}


def test_the_page_explains_itself() -> None:
    """A newcomer would see numbers and not know what they mean, or what to do next."""
    result = _demo("--seconds", "10", "--seed", "2")
    assert result.returncode == 0, result.stdout + result.stderr
    for text in ("attacks under way", "What happened", "False alarms", "One alert, explained", "What next", "a second"):
        assert text in result.stdout
    for command in ("gatewatch replay", "gatewatch worker", "gatewatch detectors show"):
        assert command in result.stdout
