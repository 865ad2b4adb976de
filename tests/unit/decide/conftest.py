"""A detector folder that exists only here, and findings as it would make them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gatewatch.catalog import Catalog
from gatewatch.decide.decider import Decider
from gatewatch.records import Contribution, Explanation, Finding, FindingBatch, Mode, Scope, Severity
from gatewatch.registry import Defaults, Entry
from gatewatch.sdk import Reason
from gatewatch.settings import Settings
from gatewatch.testing.small import SmallDetector

NAME = "door_knocker"
T0 = 1_700_000_000.0


class DoorKnocker(SmallDetector):
    """Never runs: decide reads its reasons only."""

    name = NAME
    version = 3
    scopes = (Scope.IP, Scope.NETWORK, Scope.PRINCIPAL)
    reasons = (
        Reason(0, "cracking", "Password cracking", "failed logins", Severity.MEDIUM, learned=False),
        Reason(1, "burst", "Request burst", "requests a minute", Severity.LOW, learned=True),
        Reason(2, "takeover", "Account takeover", "successes", Severity.CRITICAL, learned=False),
    )


@pytest.fixture(scope="session")
def entries() -> dict[str, Entry]:
    """One detector folder, in mode block."""
    defaults = Defaults(
        mode=Mode.BLOCK,
        tags={"attack": ("T1110",)},
        reason_tags={"cracking": {"attack": ("T1110", "T1110.001")}},
    )
    return {NAME: Entry(NAME, DoorKnocker, defaults, "1. Look at `samples`.", Path())}


@pytest.fixture(scope="session")
def make_finding() -> Callable[..., Finding]:
    """A finding on one ip, unless told otherwise; ``at`` is seconds after the start, ``n`` makes its id."""

    def make(at: float = 0.0, *, n: int = 0, key: str = "203.0.113.9", **fields: Any) -> Finding:
        values: dict[str, Any] = {
            "id": f"f{n:04d}-{at}-{key}",
            "detector": NAME,
            "version": 3,
            "scope": Scope.IP,
            "key": key,
            "reason": "cracking",
            "title": "Password cracking",
            "ts": T0 + at,
            "since": T0 + at - 30.0,
            "nats": 14.0,
            "threshold_nats": 12.0,
            "observed": 286.0,
            "expected": 0.4,
            "unit": "failed logins",
            "window_s": 300.0,
            "learned": False,
            "warm": True,
            "sample": f"access-0-{n}-0",
            "explanation": Explanation((Contribution("failures", 14.0, "286 failed logins"),), "0-2", "below 9"),
            "context": {"account": "root"},
        }
        return Finding(**(values | fields))

    return make


@pytest.fixture(scope="session")
def make_batch() -> Callable[..., FindingBatch]:
    """A record of `findings`; ``at`` is the watermark, seconds after the start."""

    def make(routed_offset: int, at: float, *findings: Finding, task: int = 0) -> FindingBatch:
        return FindingBatch(task=task, routed_offset=routed_offset, watermark=T0 + at, findings=findings)

    return make


@pytest.fixture(scope="session")
def make_decider(entries: dict[str, Entry]) -> Callable[..., Decider]:
    """A decider; keyword arguments are sections of the settings file."""

    def make(catalog: Catalog | None = None, *, open_max: int = 50_000, **sections: Any) -> Decider:
        settings = Settings.model_validate(sections)
        return Decider(settings, entries, catalog or Catalog(), open_max=open_max)

    return make
