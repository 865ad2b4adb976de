"""What may teach."""

from __future__ import annotations

import math

from gatewatch.adapters.gate import BURST, RELEASE_S, UNHEARD_NATS, Gate
from gatewatch.adapters.tail import Rarity

CALM, ODD = Rarity(1.0, 1.0), Rarity(6.0, 6.0)
FREEZE = 5.3


def test_what_surprises_does_not_teach() -> None:
    """Otherwise an attack that goes on becomes normal."""
    gate = Gate(FREEZE)
    assert gate.judge(CALM, 0.0).teach
    assert not any(gate.judge(ODD, float(i)).teach for i in range(1000))


def test_a_burst_of_odd_scores_is_not_the_new_past() -> None:
    """Otherwise its scores are common after a minute, and it is told no longer."""
    gate = Gate(FREEZE)
    heard = sum(gate.judge(ODD, float(i)).heard for i in range(2000))
    assert BURST <= heard <= BURST + 2000 * math.exp(-FREEZE) + 1


def test_rare_scores_count_as_often_as_they_should() -> None:
    """Otherwise what is left of the past makes everything look rare, and nothing teaches any more."""
    gate = Gate(FREEZE)
    odd = 0
    for i in range(100_000):
        rare = i % 250 == 0  # a little rarer than one in 200
        odd += gate.judge(ODD if rare else CALM, float(i)).heard and rare
    assert odd == 400


def test_what_is_beyond_the_past_never_counts() -> None:
    """Otherwise one monster stretches the scale, and the next one is nothing new."""
    assert not Gate(FREEZE).judge(Rarity(UNHEARD_NATS, 50.0), 0.0).heard


def test_a_changed_world_is_learned_after_a_day() -> None:
    """Otherwise a new client release is strange for ever: a freeze that nobody ends must end."""
    gate = Gate(FREEZE)
    taught = [gate.judge(Rarity(20.0, 20.0), 10.0 * i).teach for i in range(10_000)]
    first = taught.index(True)
    assert RELEASE_S <= 10.0 * first <= RELEASE_S + 10_000.0
    assert not any(taught[:first])


def test_one_attacker_in_three_releases_nothing() -> None:
    """Otherwise patience is enough to teach the model."""
    gate = Gate(FREEZE)
    taught = [gate.judge(ODD if i % 3 == 0 else CALM, 10.0 * i).teach for i in range(30_000)]
    assert not any(taught[::3])
