"""Real logs through `gatewatch replay`, with the limits of noise and detection that we promise.

The data stands beside a checkout of the developers and of CI (`../shared/data`), and is not ours to ship: elsewhere
these tests say that they did not run.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from gatewatch.records import Alert
from gatewatch.settings import Settings, Source
from gatewatch.tune.replay import Replayed, replay

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason="the evaluation data is not beside this checkout"),
]


@pytest.fixture(scope="module")
def load() -> ModuleType:
    """The reader that comes with the data."""
    spec = importlib.util.spec_from_file_location("evaluation_data", DATA / "load.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _native(rows: Iterable[dict[str, Any]], path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Path:
    path.write_bytes(b"\n".join(msgspec.json.encode(change(row)) for row in rows))
    return path


def _alerts(done: Replayed) -> list[Alert]:
    """What would have been sent."""
    return [a for a in done.last_alerts() if a.mode != "shadow"]


def _run(path: Path, fmt: str) -> Replayed:
    return replay([path], Source(topic="replay", format=fmt), Settings())


def test_an_ordinary_web_site_is_quiet() -> None:
    """If this fails, a newcomer's first replay of an own log is noise."""
    done = _run(DATA / "web_benign_first5000.log.gz", "combined")
    assert done.events == 5000
    assert done.dead == []
    assert len(_alerts(done)) <= 2


def test_a_web_scanner_is_seen() -> None:
    """If this fails, a scanner that walks through a whole site goes unnoticed."""
    done = _run(DATA / "scan_acunetix.log.gz", "combined")
    assert done.events > 6000
    assert {a.key for a in _alerts(done)} == {"192.168.4.25"}


def test_cracking_and_spraying_of_ssh_are_caught_and_covered(load: ModuleType, tmp_path: Path) -> None:
    """If this fails, the two plainest attacks on passwords go unnoticed, or are lost sight of half-way."""
    attempts = list(load.sshd())
    path = _native(attempts, tmp_path / "sshd.jsonl", dict)
    done = _run(path, "native")
    for attacker, total in (("183.62.140.253", 286), ("187.141.143.180", 80)):
        spans = [(a.first_ts, a.valid_until) for a in done.alerts if a.key == attacker]
        assert spans, attacker
        times = [row["ts"] for row in attempts if row["ip"] == attacker and row["auth"] == "failure"]
        assert len(times) == total
        covered = sum(any(low <= ts <= high for low, high in spans) for ts in times)
        assert covered >= 0.95 * total, f"{attacker}: {covered} of {total}"


@pytest.mark.parametrize("name", ["azure_conv", "mooncake_conversation"])
@pytest.mark.parametrize("principals", [0, 1, 20])
def test_benign_model_traffic_is_quiet(name: str, principals: int, load: ModuleType, tmp_path: Path) -> None:
    """If this fails, the burstiness of honest LLM traffic is taken for an attack every hour.

    The traces name no principal: none, one and twenty (round robin) are invented.
    """

    def change(row: dict[str, Any]) -> dict[str, Any]:
        event = {"ts": row["ts"] + 1.7e9 * (name != "azure_conv"), "tokens_in": row["bytes_in"], "status": 200}
        event["tokens_out"] = row["bytes_out"]
        if principals:
            event["principal"] = f"customer-{int(row['ts'] * 1e6) % principals}"
        return event

    done = _run(_native(load.events(name), tmp_path / "llm.jsonl", change), "native")
    assert len(_alerts(done)) <= 1  # an hour of traffic


def test_a_fortnight_of_image_generation_is_nearly_quiet(load: ModuleType, tmp_path: Path) -> None:
    """If this fails, batch users of a real platform are accused day by day: .02 a principal-day is the limit."""

    def change(row: dict[str, Any]) -> dict[str, Any]:
        return {
            "ts": row["ts"],
            "principal": row["principal"],
            "endpoint": row["endpoint"],
            "model": row["model"],
            "status": 200 if row["status"] == "SUCCEED" else 500,
            "latency_ms": row["latency_s"] * 1000.0,
        }

    rows: Iterator[dict[str, Any]] = load.events("genai26_first_half")
    path = _native(rows, tmp_path / "genai.jsonl", change)
    seen = {(e["principal"], int(e["ts"] // 86400)) for e in map(json.loads, path.read_text().splitlines())}
    assert len(_alerts(_run(path, "native"))) <= 0.02 * len(seen)
