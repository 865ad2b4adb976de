"""From what people call a population back to its row."""

from __future__ import annotations

from typing import Any

import pytest

from gatewatch.detect.names import NAME_CAP, keys_of, name_of
from gatewatch.events.rollup import Kind
from gatewatch.records import Scope
from gatewatch.testing.batches import SEED, batch_of
from gatewatch.testing.populations import rollups_of

EVENTS: list[dict[str, Any]] = [
    {"project": "billing team", "endpoint": "/v1/chat completions", "model": "large 2"},
    {"project": "search", "endpoint": "/v1/embed"},
    {"project": "search", "model": "small"},
]


def test_each_row_is_found_by_what_it_is_called() -> None:
    """A person says that a change of an endpoint is expected, and the baseline of another one is let go, or none."""
    (rollup,) = rollups_of(batch_of([{"ts": 1_767_225_600.0, "ip": "203.0.113.9", **event} for event in EVENTS]))
    rows = zip(rollup.kinds.tolist(), rollup.keys.tolist(), rollup.labels, strict=True)
    scopes = {Kind.ALL: Scope.ALL, Kind.PROJECT: Scope.PROJECT, Kind.ENDPOINT: Scope.ENDPOINT}
    found = {
        (kind, key): set(keys_of(scopes[Kind(kind)], name_of(Kind(kind), label), SEED)) for kind, key, label in rows
    }
    assert len(found) == 6
    for (kind, key), keys in found.items():
        assert key in keys
        others = {other for other_kind, other in found if other_kind == kind and other != key}
        assert not keys & others


@pytest.mark.parametrize(
    ("scope", "name"), [(Scope.PRINCIPAL, "alice"), (Scope.ENDPOINT, " " * (NAME_CAP + 1))], ids=["a key", "too long"]
)
def test_what_no_row_is_called_has_no_keys(scope: Scope, name: str) -> None:
    """A record with a megabyte of spaces as its key would stop the worker for minutes."""
    assert list(keys_of(scope, name, SEED)) == []
