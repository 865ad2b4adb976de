"""A detector's cases: small files of events in the native format, each with what must come of it.

``cases/attack-<name>.jsonl`` and ``cases/benign-<name>.jsonl`` hold one event a line; ``<file>.expect.yaml`` beside it
says who must be named, by when, and how many may be.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import yaml
from pydantic import Field

from gatewatch.events.event import AccessEvent
from gatewatch.records import Scope
from gatewatch.registry import Entry
from gatewatch.settings import Section, parse


class ExpectedAlert(Section):
    """One alert that must come: on whom, and how many seconds after the attack began at the latest."""

    detector: str
    scope: Scope
    key: str
    reason: str | None = None
    by_s: float = Field(gt=0)


class Expectation(Section):
    """What must come of a case. One alert is one (detector, scope, key), however often it is told again."""

    attack_start: float | None = None  # epoch s; absent where nobody attacks
    alerts: tuple[ExpectedAlert, ...] = ()
    max_alerts: int = Field(ge=0)


@dataclass(frozen=True, slots=True)
class Case:
    """One case: events and what must come of them."""

    name: str
    events: tuple[AccessEvent, ...]
    expect: Expectation

    @property
    def attack(self) -> bool:
        """Whether the case is an attack, by its name."""
        return self.name.startswith("attack-")


@dataclass(frozen=True, slots=True)
class Told:
    """The little of a finding, or of an alert, that cases ask about."""

    detector: str
    scope: Scope
    key: str
    reason: str
    ts: float


def cases(entry: Entry) -> Iterator[Case]:
    """Every case of a detector folder, by name.

    Raises:
        ConfigError: an expectation is wrong.
        FileNotFoundError: an expectation is missing.
        msgspec.MsgspecError: a line is not an event.
    """
    folder = entry.folder / "cases"
    for file in sorted(folder.iterdir(), key=lambda f: f.name):
        if not file.name.endswith(".jsonl"):
            continue
        name = file.name.removesuffix(".jsonl")
        text = (folder / f"{name}.expect.yaml").read_text(encoding="utf-8")
        expect = parse(yaml.safe_load(text) or {}, Expectation, f"{entry.name}/cases/{name}.expect.yaml")
        lines = file.read_text(encoding="utf-8").splitlines()
        events = tuple(msgspec.json.decode(line, type=AccessEvent) for line in lines if line)
        yield Case(name, events, expect)


def unmet(expect: Expectation, told: list[Told]) -> list[str]:
    """What an outcome lacks, or has too much of, in words; empty if it is as expected."""
    wrong = []
    for alert in expect.alerts:
        start = expect.attack_start or 0.0
        times = [
            t.ts
            for t in told
            if (t.detector, t.scope, t.key) == (alert.detector, alert.scope, alert.key)
            and alert.reason in {None, t.reason}
        ]
        if not times:
            wrong.append(f"no alert {alert.reason or ''} on {alert.scope.value} {alert.key}")
        elif min(times) > start + alert.by_s:
            wrong.append(f"{alert.key}: first told {min(times) - start:.0f} s after the start, not {alert.by_s:.0f} s")
        elif min(times) < start:
            wrong.append(f"{alert.key}: told {start - min(times):.0f} s before the attack began")
    keys = sorted({(t.detector, t.scope.value, t.key) for t in told})
    if len(keys) > expect.max_alerts:
        wrong.append(f"{len(keys)} alerts, at most {expect.max_alerts} expected: {keys}")
    return wrong
