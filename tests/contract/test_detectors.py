"""Every detector folder on the search path keeps the contract of the sdk."""

from __future__ import annotations

import pytest

from gatewatch import registry
from gatewatch.testing.detectors import LAWS, Law


@pytest.mark.parametrize("name", registry.names())
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_detector_keeps_the_law(law: Law, name: str) -> None:
    """What the law says about itself: a detector that breaks it crashes, forgets, lies or accuses the wrong people."""
    law(registry.load(name))
