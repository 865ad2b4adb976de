"""output_drift on real answers: a model that was changed, and one that was not (LLMDrift, Chen et al. 2023)."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gatewatch import registry
from gatewatch.sdk import RawFinding
from gatewatch.testing.batches import batch_of
from gatewatch.testing.populations import build_population, rollups_of, told

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason="the evaluation data is not beside this checkout"),
]
T, PAUSE_S = 1_770_000_000.0, 30.0
# The data is 500 or 1,000 answers a snapshot, without times: they are given one in half a minute, so the endpoint is
# known after four hours, and not after the day that the defaults ask for.
OPTIONS = {"window_minutes": 10, "least_answers": 20, "warm_windows": 24, "warm_hours": 1}
CHANGES = [("gpt-3.5-turbo-0301", "gpt-3.5-turbo-0613"), ("gpt-4-0314", "gpt-4-0613")]


def answers(task: str, snapshot: str, seed: int) -> list[dict[str, Any]]:
    """The answers of a snapshot, in any order: the file has all primes first, which is another change."""
    with gzip.open(DATA / f"llmdrift_{task}.csv.gz", "rt", encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["model"].endswith(snapshot)]
    return [rows[i] for i in np.random.default_rng(seed).permutation(len(rows))]


def findings(rows: list[dict[str, Any]]) -> list[tuple[float, RawFinding]]:
    """What is told, and after how many answers."""
    events = [
        {
            "ts": T + PAUSE_S * i, "endpoint": "/v1/chat", "model": "chat", "model_version": row["model"],
            "principal": f"app-{i % 20}", "status": 200, "latency_ms": 1000.0 * float(row["latency"]),
            "tokens_out": int(float(row["answer_token"])),
        }
        for i, row in enumerate(rows)
    ]  # fmt: skip
    found = told(build_population(registry.load("output_drift"), OPTIONS), rollups_of(batch_of(events)))
    return [((ts - T) / PAUSE_S, finding) for ts, finding in found]


@pytest.mark.parametrize("task", ["prime", "happynumber"])
@pytest.mark.parametrize(("before", "after"), CHANGES)
def test_the_change_from_march_to_june_is_found(task: str, before: str, after: str) -> None:
    """The change that made people ask whether the model got worse would be found by its users again."""
    first, second = answers(task, before, 0), answers(task, after, 1)
    found = findings(first + second)
    assert all(at > len(first) for at, _ in found)
    assert found, "not told"
    assert found[0][0] - len(first) <= 150  # answers


def test_the_new_version_is_named() -> None:
    """The owner would look for an attacker, while somebody shipped a release."""
    found = findings(answers("prime", "gpt-4-0314", 0) + answers("prime", "gpt-4-0613", 1))
    assert found[0][1].reason.name == "release"


@pytest.mark.parametrize("task", ["prime", "happynumber"])
@pytest.mark.parametrize("snapshot", [name for pair in CHANGES for name in pair])
def test_the_same_snapshot_is_no_change(task: str, snapshot: str) -> None:
    """Each model would be said to have changed, sooner or later."""
    assert [findings(answers(task, snapshot, seed)) for seed in range(2)] == [[], []]
