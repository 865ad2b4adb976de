"""Hits of a kernel become findings with names, places and reasons. Rare, so plain Python."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from gatewatch.events.batch import Batch
from gatewatch.records import Finding, Scope, SourceRange
from gatewatch.sdk import Detector, Hits, RawFinding, Reason

# Other keys of the row that a person or a decision may need
CONTEXT = (
    "principal", "credential", "account", "ip", "network", "user_agent", "ja4", "shape_hash", "endpoint", "model",
    "country", "path",
)  # fmt: skip


def name_hits(
    detector: Detector, hits: Hits, batch: Batch, ranges: Sequence[SourceRange]
) -> Iterator[tuple[int, Finding]]:
    """The row and the finding of each hit, in row order. Cost: about 60 us each."""
    if not len(hits):
        return
    reasons = {reason.code: reason for reason in detector.reasons}
    for i in range(len(hits)):
        row = int(hits.row[i])
        reason = reasons[int(hits.reason[i])]
        scope = detector.scopes[int(hits.scope[i])]
        raw = _raw(hits, i, reason, scope, batch.text(scope.value, row) or "")
        context = _context(batch, row, scope)
        place = sample(batch, row, ranges)
        finding = Finding(
            id=finding_id(detector.name, scope, raw.key, reason.name, place),
            detector=detector.name,
            version=detector.version,
            scope=scope,
            key=raw.key,
            reason=reason.name,
            title=reason.title,
            ts=float(batch.ts[row]),
            since=float(hits.since[i]),
            nats=raw.nats,
            threshold_nats=raw.threshold_nats,
            observed=raw.observed,
            expected=raw.expected,
            unit=reason.unit,
            window_s=raw.window_s,
            learned=reason.learned,
            warm=bool(hits.warm[i]) or not reason.learned,
            sample=place,
            explanation=detector.explain(raw),
            project=batch.text("project", row),
            context=context,
        )
        yield row, finding


def _context(batch: Batch, row: int, scope: Scope) -> dict[str, str]:
    context = {name: text for name in CONTEXT if (text := batch.text(name, row)) is not None and name != scope}
    if (asn := int(batch.column("asn")[row])) >= 0:
        context["asn"] = str(asn)
    return context


def sample(batch: Batch, row: int, ranges: Sequence[SourceRange]) -> str:
    """Where the row came from: topic-partition-offset-index."""
    source = ranges[int(batch.column("src")[row])]
    offset, index = int(batch.column("offset")[row]), int(batch.column("index")[row])
    return f"{source.topic}-{source.partition}-{offset}-{index}"


def finding_id(detector: str, scope: Scope, key: str, reason: str, place: str) -> str:
    """16 hex digits: the same log gives the same id."""
    text = f"{detector}\0{scope.value}\0{key}\0{reason}\0{place}"
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]


def _raw(hits: Hits, i: int, reason: Reason, scope: Scope, key: str) -> RawFinding:
    return RawFinding(
        reason=reason,
        scope=scope,
        key=key,
        nats=float(hits.nats[i]),
        threshold_nats=float(hits.threshold_nats[i]),
        observed=float(hits.observed[i]),
        expected=float(hits.expected[i]),
        window_s=float(hits.window_s[i]),
        detail={name: float(hits.detail[i, j]) for j, name in enumerate(reason.columns)},
    )
