"""The detectors of ``examples/detectors`` keep the contract: teams begin with a copy of one."""

from __future__ import annotations

from pathlib import Path

import pytest

import gatewatch.detectors
from gatewatch import registry
from gatewatch.testing.detectors import LAWS, Law

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "detectors"


@pytest.fixture(autouse=True)
def on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a team does it: by ``GATEWATCH_DETECTORS_PATH``, in this process and in those that a law starts."""
    monkeypatch.setenv("GATEWATCH_DETECTORS_PATH", str(EXAMPLES))
    monkeypatch.setattr(gatewatch.detectors, "__path__", [str(EXAMPLES), *gatewatch.detectors.__path__])


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_night_owl_keeps_the_law(law: Law) -> None:
    """The example of a model in plain Python; what the law says about itself holds for every copy of it."""
    law(registry.load("night_owl"))


@pytest.mark.slow
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_odd_sizes_keeps_the_law(law: Law) -> None:
    """The example of a River model; it is slow because its trees are."""
    law(registry.load("odd_sizes"))


def test_examples_are_not_on_the_default_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise an installation would run, and alert by, what is only there to be copied."""
    monkeypatch.setattr(gatewatch.detectors, "__path__", gatewatch.detectors.__path__[1:])
    assert not {"night_owl", "odd_sizes"} & set(registry.names())
