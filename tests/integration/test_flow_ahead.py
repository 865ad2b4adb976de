"""Ingest may read the next chunk while this one is judged, and nobody can tell by what comes out."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from gatewatch.errors import LogError
from gatewatch.flow import Flow, Outcome
from gatewatch.log.files import FileChunk
from gatewatch.registry import load
from gatewatch.settings import Settings, Source

pytestmark = pytest.mark.slow
T0 = 1_769_990_400.0
DETECTOR = "credential_stuffing"


def _flow() -> Flow:
    settings = Settings.model_validate({"kafka": {"partitions": 2}, "detectors": {DETECTOR: {"mode": "block"}}})
    return Flow(settings, Source(topic="edge", format="native"), entries={DETECTOR: load(DETECTOR)})


def _chunks() -> Iterator[FileChunk]:
    """Lists of accounts tried from two addresses, on and on after the block, a bad line in each chunk."""
    for first in range(0, 1200, 100):
        lines = [
            json.dumps(
                {"ts": T0 + i, "ip": f"203.0.113.{i % 2}", "account": f"a-{i}", "status": 401, "auth": "failure"}
            ).encode()
            for i in range(first, first + 100)
        ]
        yield FileChunk("some.jsonl", first + 1, [*lines, b"{"], 0)


def test_the_outcomes_are_those_of_one_after_the_other() -> None:
    """If this fails, a replay says something else than the worker would have said, or another thing each time."""
    one_by_one, at_once = _flow(), _flow()
    expected: list[Outcome] = [*(one_by_one.feed(chunk.values) for chunk in _chunks()), one_by_one.finish()]
    found: list[Outcome] = [*(outcome for _chunk, outcome in at_once.feed_all(_chunks())), at_once.finish()]
    assert found == expected
    assert sum(len(outcome.decisions) for outcome in found) >= 2
    assert sum(len(outcome.dead) for outcome in found) == 12


def test_a_file_that_breaks_gives_what_came_before() -> None:
    """If this fails, the alerts of a file that was cut off are lost, or the damage is."""

    def chunks() -> Iterator[FileChunk]:
        yield next(_chunks())
        raise LogError("some.jsonl: line 102: it was cut off")

    outcomes = _flow().feed_all(chunks())
    assert next(outcomes)[1].events == 100
    with pytest.raises(LogError, match="line 102"):
        next(outcomes)
