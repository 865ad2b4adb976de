"""The published schema of the native format is the one that is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gatewatch.events import schema
from gatewatch.events.event import AccessEvent, Shape
from gatewatch.events.formats.native import NativeInput

PUBLISHED = Path(__file__).parents[3] / "docs" / "event.schema.json"


def _properties(name: str) -> dict[str, Any]:
    properties: dict[str, Any] = schema.event_schema()["$defs"][name]["properties"]
    return properties


def test_the_published_schema_is_up_to_date() -> None:
    """If this fails, producers follow a schema that ingest does not: write schema.document() to the file again."""
    assert PUBLISHED.read_text(encoding="utf-8") == schema.document()


def test_every_input_is_in_it_with_a_description() -> None:
    """If this fails, a field can be sent of which nobody is told, or is published without saying what it means."""
    assert set(_properties("AccessEvent")) == set(NativeInput.__struct_fields__)
    assert set(_properties("Shape")) == set(Shape.__struct_fields__)
    for name in ("AccessEvent", "Shape"):
        assert all(len(properties["description"]) > 10 for properties in _properties(name).values())


def test_only_the_time_is_required() -> None:
    """If this fails, a producer that validates its events refuses those that we would take."""
    assert schema.event_schema()["$defs"]["AccessEvent"]["required"] == ["ts"]
    assert AccessEvent(ts=1.0).principal is None
