"""docs/formats.md and the formats are the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gatewatch.events import formats

SECTIONS = dict(
    re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", Path("docs/formats.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
)


def test_every_format_has_its_section() -> None:
    """If this fails, a user cannot find out what to set in a gateway, or sets what is not read."""
    assert sorted(SECTIONS) == formats.names()


@pytest.mark.parametrize("name", formats.names())
def test_a_section_says_what_it_lacks_and_costs_and_its_sample_is_read(name: str) -> None:
    """If this fails, the sample a user copies becomes a dead letter."""
    assert "Lacks:" in SECTIONS[name] or name == "cloudevents"
    assert re.search(r"Cost: \w+", SECTIONS[name])
    sample = re.search(r"```(?:json|text)\n(.*?)\n```", SECTIONS[name], re.DOTALL)
    assert sample is not None
    decoded = formats.get(name).decode([sample[1].encode()])
    assert (decoded.bad, len(decoded.events)) == ([], 1)
