"""What the demo expects of the detectors that are here."""

from __future__ import annotations

from gatewatch.demo.coverage import COVERAGE, Sees
from gatewatch.records import Scope
from gatewatch.registry import load
from gatewatch.simulate.attacks import ATTACKS


def test_every_attack_has_a_detector_that_is_meant_to_see_it() -> None:
    """A new attack would be simulated and never asked about."""
    assert set(COVERAGE) == set(ATTACKS)


def test_a_detector_without_the_scope_does_not_cover() -> None:
    """A botnet at one try an address would count as covered by a detector that only looks at addresses."""
    entry = load("credential_stuffing")
    here, elsewhere = entry.scopes[0], next(s for s in Scope if s not in entry.scopes)
    assert Sees(entry.name, frozenset({here, elsewhere})).is_in({entry.name: entry})
    assert not Sees(entry.name, frozenset({elsewhere})).is_in({entry.name: entry})


def test_a_detector_that_is_not_here_covers_nothing() -> None:
    """The demo would fail for want of a detector that nobody has shipped."""
    assert not Sees("output_drift", frozenset({Scope.ENDPOINT})).is_in({})


def test_the_text_names_detector_and_scopes() -> None:
    """The page would not say which detector an unseen attack is waiting for."""
    assert str(COVERAGE["distributed_stuffing"]) == "detector credential_stuffing on endpoint or project or all"
