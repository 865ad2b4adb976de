"""A file through the whole flow: what `gatewatch replay` does."""

from __future__ import annotations

import tempfile
from pathlib import Path

from common import Figure, Results, events, peak_mb, repeat

from gatewatch.settings import Settings, Source
from gatewatch.tune.replay import replay


def run(results: Results) -> None:
    """Add this module's figures."""
    values = events(200_000)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.jsonl"
        path.write_bytes(b"\n".join(values))

        def work() -> int:
            return replay([path], Source(topic="bench", format="native"), Settings()).events

        value, spread = repeat(work, 3)
    note = f"ingest, all detectors and decide in one process; peak RSS {peak_mb():.0f} MB"
    results.add(Figure("replay of a file", value, "events/s", spread, 200_000, note=note))
