"""Running one detector on batches, for tests: what it finds, number by number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import numpy.typing as npt

from gatewatch.events.batch import Batch
from gatewatch.registry import Entry
from gatewatch.sdk import Context, Detector, Hits, RawFinding
from gatewatch.settings import DetectorSettings
from gatewatch.testing import traffic
from gatewatch.testing.batches import SEED, batch_of
from gatewatch.testing.cases import cases

CONTEXT = Context(seed=SEED, partitions=12, alarms_per_day=1.0)


def build(entry: Entry, options: Mapping[str, Any] | None = None) -> Detector:
    """A fresh detector, as one of twelve partitions has it."""
    return entry.build(DetectorSettings.model_validate(options or {}), CONTEXT)


def findings(detector: Detector, batch: Batch) -> list[tuple[int, float, RawFinding]]:
    """Process a batch: (row, event time, finding) of each hit."""
    return list(_raw(detector, detector.process(batch), batch))


def _raw(detector: Detector, hits: Hits, batch: Batch) -> Iterator[tuple[int, float, RawFinding]]:
    reasons = {reason.code: reason for reason in detector.reasons}
    for i in range(len(hits)):
        row, reason, scope = int(hits.row[i]), reasons[int(hits.reason[i])], detector.scopes[int(hits.scope[i])]
        yield row, float(batch.ts[row]), RawFinding(
            reason=reason,
            scope=scope,
            key=batch.text(scope.value, row) or "",
            nats=float(hits.nats[i]),
            threshold_nats=float(hits.threshold_nats[i]),
            observed=float(hits.observed[i]),
            expected=float(hits.expected[i]),
            window_s=float(hits.window_s[i]),
            detail={name: float(hits.detail[i, j]) for j, name in enumerate(reason.columns)},
        )  # fmt: skip


def lines_of(detector: Detector, batches: list[Batch]) -> list[tuple[Any, ...]]:
    """Every number of every hit, rows counted through all batches: what must be equal where behaviour must be."""
    lines: list[tuple[Any, ...]] = []
    first = 0
    for batch in batches:
        hits = detector.process(batch)
        for i in range(len(hits)):
            numbers = (hits.nats, hits.threshold_nats, hits.observed, hits.expected, hits.window_s, hits.since)
            codes = (first + int(hits.row[i]), int(hits.scope[i]), int(hits.reason[i]), int(hits.warm[i]))
            lines.append((*codes, *(float(a[i]) for a in numbers), *hits.detail[i].tolist()))
        first += batch.n
    return lines


def bytes_of(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, bytes]:
    """Every bit of state that means something: of structured arrays the fields, not what fills the gaps between."""
    flat: dict[str, bytes] = {}
    for name, array in arrays.items():
        for part in array.dtype.names or ("",):
            flat[f"{name}.{part}"] = (array[part] if part else array).tobytes()
    return flat


def stream(entry: Entry) -> Batch:
    """The kit's traffic, then the events of the folder's attack cases, one after the other: something for anybody."""
    parts = [traffic.calm(), traffic.attack(first_offset=2000)]
    now = traffic.START + traffic.CALM_S + traffic.ATTACK_S
    for case in cases(entry):
        if case.attack:
            shift = now - min(event.ts for event in case.events)
            events = [msgspec.structs.replace(event, ts=event.ts + shift) for event in case.events]
            parts.append(batch_of(events, first_offset=sum(part.n for part in parts)))
            now = max(event.ts for event in events)
    return traffic.joined(*parts)
