"""Attacks that were written after the detectors: those for which nothing need be learned are found at once."""

from __future__ import annotations

import numpy as np
import pytest
from figures import native, replayed, sent
from unseen_attacks import START, Attack, World, attacks, login

from gatewatch.records import Alert
from gatewatch.settings import Settings, parse

UNLEARNED = ("credential_stuffing", "restricted_probe")
OTHERS = ("leaked_key", "model_extraction", "output_drift", "payload_drift", "rate_spike")
LEARNED = {"each try from another network of the world, one in two minutes for twelve hours"}  # against a site's ratio


@pytest.fixture(scope="module")
def world() -> tuple[list[Attack], list[Alert]]:
    """The attacks, and what was sent about them on a site that saw a morning of logins."""
    made = World(np.random.default_rng(5))
    tried = [a for a in attacks(made) if a.detector in UNLEARNED and a.name not in LEARNED]
    morning = [login(START + 20.0 * i, f"20.0.{i % 250}.7", f"person-{i % 250}", ok=i % 11 != 0) for i in range(1000)]
    events = sorted([*morning, *(e for attack in tried for e in attack.events)], key=lambda event: float(event["ts"]))
    off = {"detectors": {name: {"mode": "off"} for name in OTHERS}}
    return tried, sent(replayed(native(events), settings=parse(off, Settings)))


def test_what_needs_no_learning_is_found(world: tuple[list[Attack], list[Alert]]) -> None:
    """If this fails, an attack that differs a little from the simulator's goes unseen."""
    tried, alerts = world
    named = {alert.key for alert in alerts}
    missed = [attack.name for attack in tried if not attack.keys & named and not attack.why_not]
    assert missed == []


def test_what_is_said_to_be_missed_is(world: tuple[list[Attack], list[Alert]]) -> None:
    """If this fails, a detector's text tells its users of a hole that is not there."""
    tried, alerts = world
    named = {alert.key for alert in alerts}
    assert [attack.name for attack in tried if attack.why_not and attack.keys & named] == []


def test_nobody_else_is_accused(world: tuple[list[Attack], list[Alert]]) -> None:
    """If this fails, a site that is attacked blames its own people."""
    tried, alerts = world
    keys = {key for attack in tried for key in attack.keys}
    assert {alert.key for alert in alerts if alert.key.startswith(("20.0.", "customer-"))} <= keys
