"""Every metric, in one place: name, type, unit, labels, meaning. ``docs/metrics.md`` is made from it.

Labels come from closed sets: topics of the config, detectors that are installed, and enumerations; never a key, an
address or anything else that a stranger can write. Counting costs some microseconds, so it is done once a batch.

``python -m gatewatch.metrics`` prints the table of docs/metrics.md.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from gatewatch.errors import BadReason
from gatewatch.records import Alert, Decision, Finding, Refusal

TP = TypeVar("TP", bound=tuple[str, int])  # a topic and a partition
Kind = Literal["counter", "gauge", "histogram"]
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


@dataclass(frozen=True, slots=True)
class Spec:
    """What one metric is."""

    name: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    meaning: str
    buckets: tuple[float, ...] = _SECONDS


SPECS = (
    Spec("gatewatch_events_total", "counter", "events", ("topic", "result"), "Events read from a source: ok or dead."),
    Spec(
        "gatewatch_dead_letters_total", "counter", "elements", ("topic", "reason"), "Elements that could not be read."
    ),
    Spec("gatewatch_moved_rows_total", "counter", "events", (), "Events whose time was outside its bounds and moved."),
    Spec("gatewatch_batch_rows", "histogram", "rows", (), "Rows of a routed batch.", (1, 10, 50, 100, 500, 1000, 5000)),
    Spec("gatewatch_batch_bytes", "histogram", "bytes", (), "Size of a routed batch.", (1e3, 1e4, 1e5, 5e5, 1e6, 5e6)),
    Spec("gatewatch_source_lag", "gauge", "records", ("topic", "partition"), "Records of a source not yet read."),
    Spec("gatewatch_routed_lag", "gauge", "records", ("partition",), "Records of `routed` not yet applied."),
    Spec("gatewatch_rows_total", "counter", "rows", (), "Rows that detect tasks have applied."),
    Spec(
        "gatewatch_ranges_total",
        "counter",
        "ranges",
        ("result",),
        "Source ranges that detect refused (too early) or trimmed (repeated), and source offsets that were lost.",
    ),
    Spec("gatewatch_findings_total", "counter", "findings", ("detector", "scope", "reason"), "Findings."),
    Spec("gatewatch_detector_seconds_total", "counter", "seconds", ("detector",), "Time spent in a detector."),
    Spec("gatewatch_detector_errors_total", "counter", "errors", ("detector",), "Batches at which a detector raised."),
    Spec(
        "gatewatch_detector_quarantined",
        "gauge",
        "partitions",
        ("detector",),
        "Partitions in which a detector was switched off because it raised.",
    ),
    Spec("gatewatch_state_rows", "gauge", "rows", ("detector", "table"), "Keys in a detector's table."),
    Spec("gatewatch_state_capacity", "gauge", "rows", ("detector", "table"), "Keys that fit in a detector's table."),
    Spec("gatewatch_state_bytes", "gauge", "bytes", ("detector", "table"), "Memory of a detector's table."),
    Spec(
        "gatewatch_state_evicted",
        "gauge",
        "rows",
        ("detector", "table"),
        "Keys that lost their row to another since the task began.",
    ),
    Spec(
        "gatewatch_state_refused",
        "gauge",
        "rows",
        ("detector", "table"),
        "Times a key got no row since the task began; it still counts in totals.",
    ),
    Spec(
        "gatewatch_alerts_total",
        "counter",
        "revisions",
        ("detector", "severity", "status", "mode"),
        "Revisions of alerts.",
    ),
    Spec("gatewatch_decisions_total", "counter", "decisions", ("action", "scope", "mode"), "Orders to gateways."),
    Spec("gatewatch_refusals_total", "counter", "refusals", ("guard",), "Orders that a guard did not let pass."),
    Spec("gatewatch_open_episodes", "gauge", "episodes", (), "Episodes that are open."),
    Spec(
        "gatewatch_decision_latency_seconds",
        "histogram",
        "seconds",
        (),
        "From ingest sending an event to the alert or decision that it caused.",
    ),
    Spec("gatewatch_assigned_partitions", "gauge", "partitions", ("role",), "Partitions that this worker has."),
    Spec("gatewatch_caught_up", "gauge", "0 or 1", ("role",), "Whether there is nothing old left to read."),
)


class Table(Protocol):
    """Sizes of one table (``sdk.TableStats``)."""

    @property
    def rows(self) -> int: ...  # noqa: D102 - see sdk.TableStats
    @property
    def capacity(self) -> int: ...  # noqa: D102
    @property
    def nbytes(self) -> int: ...  # noqa: D102
    @property
    def evicted(self) -> int: ...  # noqa: D102
    @property
    def refused(self) -> int: ...  # noqa: D102


class Metrics:
    """All metrics of one process. Made once for each process (or test); nothing is global."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry if registry is not None else CollectorRegistry()
        self._all = {spec.name: _make(spec, self.registry) for spec in SPECS}

    def events(self, topic: str, ok: int, dead: int) -> None:
        """Events of one round of ingest."""
        self._counter("gatewatch_events_total", topic=topic, result="ok").inc(ok)
        if dead:
            self._counter("gatewatch_events_total", topic=topic, result="dead").inc(dead)

    def sources(self, topics: tuple[str, ...]) -> None:
        """Make the series of every source visible at zero."""
        for topic in topics:
            self.events(topic, 0, 0)
            for reason in BadReason:
                self._counter("gatewatch_dead_letters_total", topic=topic, reason=reason.value)

    def dead_letter(self, topic: str, reason: str) -> None:
        """One element that could not be read."""
        self._counter("gatewatch_dead_letters_total", topic=topic, reason=reason).inc()

    def moved_rows(self, n: int) -> None:
        """Events with a time out of bounds."""
        self._counter("gatewatch_moved_rows_total").inc(n)

    def batch(self, rows: int, nbytes: int) -> None:
        """One routed batch."""
        self._histogram("gatewatch_batch_rows").observe(rows)
        self._histogram("gatewatch_batch_bytes").observe(nbytes)

    def source_lag(self, lag: Mapping[TP, int]) -> None:
        """Of each assigned source partition."""
        for (topic, partition), records in lag.items():
            self._gauge("gatewatch_source_lag", topic=topic, partition=str(partition)).set(records)

    def routed_lag(self, lag: Mapping[TP, int]) -> None:
        """Of each assigned routed partition."""
        for (_topic, partition), records in lag.items():
            self._gauge("gatewatch_routed_lag", partition=str(partition)).set(records)

    def rows(self, applied: int, *, refused: int, repeated: int, lost: int) -> None:
        """What tasks applied since the last time."""
        self._counter("gatewatch_rows_total").inc(applied)
        for result, n in (("refused", refused), ("repeated", repeated), ("lost", lost)):
            self._counter("gatewatch_ranges_total", result=result).inc(n)

    def finding(self, finding: Finding) -> None:
        """One finding."""
        labels = {"detector": finding.detector, "scope": finding.scope.value, "reason": finding.reason}
        self._counter("gatewatch_findings_total", **labels).inc()

    def detector_time(self, detector: str, seconds: float) -> None:
        """Time one batch took in one detector."""
        self._counter("gatewatch_detector_seconds_total", detector=detector).inc(seconds)

    def detector_raised(self, detector: str, *, quarantined: bool) -> None:
        """A detector raised; perhaps once too often."""
        self._counter("gatewatch_detector_errors_total", detector=detector).inc()
        if quarantined:
            self._gauge("gatewatch_detector_quarantined", detector=detector).inc()

    def table(self, detector: str, table: str, stats: Table) -> None:
        """Sizes of one table, summed over this worker's partitions by the caller."""
        labels = {"detector": detector, "table": table}
        self._gauge("gatewatch_state_rows", **labels).set(stats.rows)
        self._gauge("gatewatch_state_capacity", **labels).set(stats.capacity)
        self._gauge("gatewatch_state_bytes", **labels).set(stats.nbytes)
        self._gauge("gatewatch_state_evicted", **labels).set(stats.evicted)
        self._gauge("gatewatch_state_refused", **labels).set(stats.refused)

    def alert(self, alert: Alert) -> None:
        """One revision of an alert."""
        labels = {
            "detector": alert.detector,
            "severity": alert.severity.value,
            "status": alert.status.value,
            "mode": alert.mode.value,
        }
        self._counter("gatewatch_alerts_total", **labels).inc()

    def decision(self, decision: Decision) -> None:
        """One order."""
        labels = {"action": decision.action.value, "scope": decision.scope.value, "mode": decision.mode.value}
        self._counter("gatewatch_decisions_total", **labels).inc()

    def refusal(self, refusal: Refusal) -> None:
        """One order that did not pass."""
        self._counter("gatewatch_refusals_total", guard=refusal.guard).inc()

    def open_episodes(self, n: int) -> None:
        """How many are open."""
        self._gauge("gatewatch_open_episodes").set(n)

    def decided_after(self, seconds: float) -> None:
        """How long an event took to become an alert or a decision."""
        self._histogram("gatewatch_decision_latency_seconds").observe(seconds)

    def worker(self, role: str, *, assigned: int, caught_up: bool) -> None:
        """How a role stands."""
        self._gauge("gatewatch_assigned_partitions", role=role).set(assigned)
        self._gauge("gatewatch_caught_up", role=role).set(int(caught_up))

    def _counter(self, name: str, **labels: str) -> Counter:
        return cast("Counter", self._child(name, labels))

    def _gauge(self, name: str, **labels: str) -> Gauge:
        return cast("Gauge", self._child(name, labels))

    def _histogram(self, name: str, **labels: str) -> Histogram:
        return cast("Histogram", self._child(name, labels))

    def _child(self, name: str, labels: dict[str, str]) -> object:
        metric = self._all[name]
        return metric.labels(**labels) if labels else metric


def _make(spec: Spec, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    if spec.kind == "counter":
        return Counter(spec.name.removesuffix("_total"), spec.meaning, spec.labels, registry=registry)
    if spec.kind == "gauge":
        return Gauge(spec.name, spec.meaning, spec.labels, registry=registry)
    return Histogram(spec.name, spec.meaning, spec.labels, buckets=spec.buckets, registry=registry)


def table() -> str:
    """The text of docs/metrics.md."""
    lines = [
        "# Metrics",
        "",
        "Made from `src/gatewatch/metrics.py` by `python -m gatewatch.metrics`; a test holds the two together.",
        "Labels come from closed sets: nothing that a stranger can write is ever a label.",
        "",
        "| name | type | unit | labels | meaning |",
        "|---|---|---|---|---|",
    ]
    for spec in SPECS:
        labels = ", ".join(f"`{label}`" for label in spec.labels)
        lines.append(f"| `{spec.name}` | {spec.kind} | {spec.unit} | {labels} | {spec.meaning} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(table())
