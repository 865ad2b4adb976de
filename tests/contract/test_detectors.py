"""Every detector folder on the search path keeps the contract of the sdk."""

from __future__ import annotations

import pytest

from gatewatch import registry
from gatewatch.testing.detectors import Law, laws_of

_ALL = [(name, law) for name in registry.names() for law in laws_of(registry.load(name))]


@pytest.mark.parametrize(("name", "law"), _ALL, ids=[f"{law.__name__}-{name}" for name, law in _ALL])
def test_detector_keeps_the_law(name: str, law: Law) -> None:
    """What the law says about itself: a detector that breaks it crashes, forgets, lies or accuses the wrong people."""
    law(registry.load(name))
