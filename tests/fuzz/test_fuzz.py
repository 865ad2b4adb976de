"""The short form: some hundred inputs for each target. The long one is ``make fuzz``."""

from __future__ import annotations

import pytest
from tests.fuzz.__main__ import feed
from tests.fuzz.targets import makers

INPUTS = 300  # for each target: some 8,000 in all, always the same; new ones are what the long form is for


@pytest.mark.parametrize("name", makers())
def test_nothing_hostile_ends_a_worker_hides_a_neighbour_or_comes_out(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails, one message is a poison pill, makes others invisible, or is quoted where it must not be."""
    monkeypatch.setenv("FUZZ_TOKEN", "secret-one")
    fed, failure = feed(makers()[name](), INPUTS, seed=20261124)
    assert failure is None
    assert fed >= INPUTS
