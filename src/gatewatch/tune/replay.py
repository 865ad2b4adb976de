"""Files through the whole flow at full speed, and what came out as files.

``alerts.jsonl``, ``incidents.jsonl`` and ``decisions.jsonl`` hold one line for each, as it stood at the end;
``revisions.jsonl`` every revision of every alert. What is in shadow mode stands in ``shadow.jsonl``: it was never sent.
What could not be read stands in ``dead-letters.jsonl``, with its file and line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from gatewatch import __version__
from gatewatch.clock import stopwatch
from gatewatch.flow import Flow, Outcome
from gatewatch.log.files import FileChunk, read_values, write_jsonl
from gatewatch.records import Alert, DeadLetter, Decision, Finding, Incident, Mode
from gatewatch.settings import Settings, Source

# Lines fed at a time: some 4,000 rows for each of 4 partitions, where a batch's fixed cost no longer matters.
LINES_PER_CHUNK = 8192


@dataclass(frozen=True, slots=True)
class Unread:
    """What could not be read for one reason, and the first of it."""

    reason: str
    elements: int
    file: str
    line: int
    detail: str

    def __str__(self) -> str:
        return f"{self.elements:,} ({self.reason}), first in {self.file} line {self.line}: {self.detail}"


@dataclass(slots=True)
class Replayed:
    """All that a replay produced. ``alerts`` holds every revision, in order."""

    events: int = 0
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    incidents: list[Incident] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    dead: list[dict[str, Any]] = field(default_factory=list)
    history_events: int = 0
    history_findings: int = 0
    first_ts: float | None = None
    last_ts: float | None = None

    def last_alerts(self) -> list[Alert]:
        """Each alert as it stood at the end, in order of its first event."""
        last = {alert.id: alert for alert in self.alerts}
        return sorted(last.values(), key=lambda a: (a.first_ts, a.id))

    def last_incidents(self) -> list[Incident]:
        """Each incident as it stood at the end, without those that became part of another."""
        last = {incident.id: incident for incident in self.incidents}
        return sorted((i for i in last.values() if i.merged_into is None), key=lambda i: (i.first_ts, i.id))

    def last_decisions(self) -> list[Decision]:
        """Each decision as it stood at the end, in order of its start."""
        last = {decision.id: decision for decision in self.decisions}
        return sorted(last.values(), key=lambda d: (d.start, d.id))

    def unread(self) -> list[Unread]:
        """What could not be read, by reason, most of it first."""
        first = {letter["reason"]: letter for letter in reversed(self.dead)}
        return [
            Unread(reason, n, first[reason]["file"], first[reason]["line"], first[reason]["detail"])
            for reason, n in Counter(letter["reason"] for letter in self.dead).most_common()
        ]


def replay(
    paths: Iterable[Path | str],
    source: Source,
    settings: Settings,
    *,
    warm: Iterable[Path | str] = (),
    progress: Callable[[int, int], None] | None = None,
    tap: Callable[[list[bytes]], None] | None = None,
) -> Replayed:
    """Run files (``-`` is stdin) through ingest, detect and decide.

    ``warm`` is older history, in order: detectors learn from it, and nothing is said of it, only counted.
    ``progress(bytes, events)`` is called after each chunk with what has been judged so far; ``tap(values)`` with the
    values of each chunk.

    Raises:
        ConfigError: the settings or the format are wrong.
        LogError: a file cannot be read; the message says which, and the line.
    """
    flow = Flow(settings, source)
    done = Replayed()
    began = stopwatch()
    places = _Places()
    for chunk in read_values(warm, lines_per_chunk=LINES_PER_CHUNK):
        places.add(chunk)
        outcome = flow.warm(chunk.values)
        done.history_events += outcome.events
        done.dead += [places.of(letter) for letter in outcome.dead]
    for chunk, outcome in flow.feed_all(read_values(paths, lines_per_chunk=LINES_PER_CHUNK)):
        places.add(chunk)
        if tap is not None:
            tap(chunk.values)
        _gather(done, outcome, places)
        if progress is not None:
            progress(chunk.bytes_read, done.events)
    _gather(done, flow.finish(), places)
    done.history_findings = flow.detect.unsaid
    done.seconds = stopwatch() - began
    times = flow.ingest.event_times
    done.first_ts, done.last_ts = times if done.events else (None, None)
    return done


def write(done: Replayed, out: Path, settings: Settings) -> dict[str, Any]:
    """Write everything under ``out`` and return the summary that is in ``summary.json``."""
    out.mkdir(parents=True, exist_ok=True)
    alerts, decisions = done.last_alerts(), done.last_decisions()
    sent = [a for a in alerts if a.mode is not Mode.SHADOW]
    ordered = [d for d in decisions if d.mode is not Mode.SHADOW]
    shadow = [a for a in alerts if a.mode is Mode.SHADOW]
    write_jsonl(out / "alerts.jsonl", (a.model_dump_json().encode() for a in sent))
    write_jsonl(out / "revisions.jsonl", (a.model_dump_json().encode() for a in done.alerts))
    incidents = [i for i in done.last_incidents() if i.mode is not Mode.SHADOW]
    write_jsonl(out / "incidents.jsonl", (i.model_dump_json().encode() for i in incidents))
    write_jsonl(out / "decisions.jsonl", (d.model_dump_json().encode() for d in ordered))
    write_jsonl(out / "shadow.jsonl", _shadow(shadow, decisions))
    write_jsonl(out / "findings.jsonl", (msgspec.json.encode(f) for f in done.findings))
    write_jsonl(out / "dead-letters.jsonl", (msgspec.json.encode(d) for d in done.dead))
    summary: dict[str, Any] = {
        "version": __version__,
        "config_hash": settings.hash,
        "events": done.events,
        "dead_letters": len(done.dead),
        "dead_letters_by_reason": {unread.reason: unread.elements for unread in done.unread()},
        "history_events": done.history_events,
        "history_findings": done.history_findings,
        "first_ts": done.first_ts,
        "last_ts": done.last_ts,
        "findings": len(done.findings),
        "alerts": len(sent),
        "alerts_by_detector": dict(Counter(a.detector for a in sent)),
        "alerts_by_severity": dict(Counter(a.severity.value for a in sent)),
        "shadow_alerts": len(shadow),
        "incidents": len(incidents),
        "decisions": len(ordered),
        "seconds": round(done.seconds, 3),
        "events_per_s": round(done.events / done.seconds) if done.seconds > 0 else 0,
    }
    write_jsonl(out / "summary.json", [msgspec.json.format(msgspec.json.encode(summary), indent=2)])
    return summary


def _shadow(alerts: Iterable[Alert], decisions: Iterable[Decision]) -> Iterator[bytes]:
    for alert in alerts:
        yield msgspec.json.encode({"kind": "alert", **alert.model_dump(mode="json")})
    for decision in decisions:
        if decision.mode is Mode.SHADOW:
            yield msgspec.json.encode({"kind": "decision", **decision.model_dump(mode="json")})


@dataclass(slots=True)
class _Places:
    """Which file and line the offsets of the input topic are."""

    starts: list[tuple[int, str, int]] = field(default_factory=list)  # first offset, file, its line
    offsets: int = 0

    def add(self, chunk: FileChunk) -> None:
        self.starts.append((self.offsets, chunk.file, chunk.first_line))
        self.offsets += len(chunk.values)

    def of(self, letter: DeadLetter) -> dict[str, Any]:
        first, file, line = next(s for s in reversed(self.starts) if s[0] <= letter.offset)
        row: dict[str, Any] = msgspec.to_builtins(letter)
        return {"file": file, "line": line + letter.offset - first, **row}


def _gather(done: Replayed, outcome: Outcome, places: _Places) -> None:
    done.events += outcome.events
    done.findings += outcome.findings
    done.alerts += outcome.alerts
    done.incidents += outcome.incidents
    done.decisions += outcome.decisions
    done.dead += [places.of(letter) for letter in outcome.dead]
