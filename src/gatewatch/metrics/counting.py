"""All metrics of one process, and what is counted on them.

Series that a role can have are made at zero when it starts, so that ``increase()`` sees the first one. Counting costs
some microseconds, so it is done once a batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product
from math import isfinite
from typing import TypeVar, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from gatewatch.errors import BadReason
from gatewatch.metrics.specs import NOTIFY_RESULTS, RECEIVED, SENT_MODES, SPECS, STOPPABLE, Spec
from gatewatch.records import Action, Alert, Decision, Finding, Incident, Refusal, Severity, Status

TP = TypeVar("TP", bound=tuple[str, int])  # a topic and a partition


class Metrics:
    """All metrics of one process. Made once for each process (or test); nothing is global."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry if registry is not None else CollectorRegistry()
        self._all = {spec.name: _make(spec, self.registry) for spec in SPECS}
        self._partitions: dict[str, set[tuple[str, ...]]] = {}  # label values that a gauge has now
        self._sums: dict[tuple[str, str, str], int] = {}  # last value of a sum that a counter follows

    def sources(self, topics: Iterable[str]) -> None:
        """Ingest will read these: make their series at zero."""
        for topic in topics:
            self.events(topic, 0, 0)
            for reason in BadReason:
                self._counter("gatewatch_dead_letters_total", topic=topic, reason=reason.value)

    def detectors(self, findings: Mapping[str, tuple[Iterable[str], Iterable[str]]]) -> None:
        """Detect will run these, with their scopes and reasons: make their series at zero."""
        for detector, (scopes, reasons) in findings.items():
            self.detector_time(detector, 0.0)
            self._counter("gatewatch_detector_errors_total", detector=detector)
            self._gauge("gatewatch_detector_quarantined", detector=detector)
            for scope, reason in product(scopes, reasons):
                self._counter("gatewatch_findings_total", detector=detector, scope=scope, reason=reason)
        self.rows(0, refused=0, repeated=0, lost=0)
        for of in ("routed", "rollups"):
            self.unreadable(of, 0)

    def policy(self, detectors: Iterable[str], guards: Iterable[str]) -> None:
        """Decide will judge by these: make their series at zero."""
        for detector, severity, status, mode in product(detectors, Severity, Status, SENT_MODES):
            labels = {"detector": detector, "severity": severity.value, "status": status.value, "mode": mode.value}
            self._counter("gatewatch_alerts_total", **labels)
        for action, scope, mode in product(Action, STOPPABLE, SENT_MODES):
            self._counter("gatewatch_decisions_total", action=action.value, scope=scope.value, mode=mode.value)
        for result in ("ok", "refused"):
            self._counter("gatewatch_catalog_reads_total", result=result)
        for severity, status, mode in product(Severity, Status, SENT_MODES):
            labels = {"severity": severity.value, "status": status.value, "mode": mode.value}
            self._counter("gatewatch_incidents_total", **labels)
        for guard in guards:
            self._counter("gatewatch_refusals_total", guard=guard)

    def events(self, topic: str, ok: int, dead: int) -> None:
        """Elements of some values of a source."""
        self._counter("gatewatch_events_total", topic=topic, result="ok").inc(ok)
        self._counter("gatewatch_events_total", topic=topic, result="dead").inc(dead)

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

    def sends_in_flight(self, records: int) -> None:
        """Of this process's producer."""
        self._gauge("gatewatch_sends_in_flight").set(records)

    def source_lag(self, lag: Mapping[TP, int]) -> None:
        """Of each assigned source partition; those that have gone lose their series."""
        self._replace("gatewatch_source_lag", {(topic, str(p)): records for (topic, p), records in lag.items()})

    def source_paused(self, paused: Mapping[TP, bool]) -> None:
        """Of each assigned source partition; those that have gone lose their series."""
        self._replace("gatewatch_source_paused", {(topic, str(p)): float(on) for (topic, p), on in paused.items()})

    def blind(self, reasons: Mapping[str, int]) -> None:
        """How many things of each kind cannot be seen now."""
        for reason, n in reasons.items():
            self._gauge("gatewatch_blind", reason=reason).set(n)

    def routed_lag(self, lag: Mapping[TP, int]) -> None:
        """Of each assigned routed partition; those that have gone lose their series."""
        self._replace("gatewatch_routed_lag", {(str(p),): records for (_topic, p), records in lag.items()})

    def watermarks(self, times: Mapping[int, float]) -> None:
        """Event time of each assigned routed partition; one that has seen none has no series."""
        now: dict[tuple[str, ...], float] = {(str(p),): ts for p, ts in times.items() if isfinite(ts)}
        self._replace("gatewatch_watermark_timestamp_seconds", now)

    def rows(self, applied: int, *, refused: int, repeated: int, lost: int) -> None:
        """What tasks applied since the last time."""
        self._counter("gatewatch_rows_total").inc(applied)
        for result, n in (("refused", refused), ("repeated", repeated), ("lost", lost)):
            self._counter("gatewatch_ranges_total", result=result).inc(n)

    def finding(self, finding: Finding, now: float) -> None:
        """One finding, at wall time ``now``."""
        labels = {"detector": finding.detector, "scope": finding.scope.value, "reason": finding.reason}
        self._counter("gatewatch_findings_total", **labels).inc()
        self._histogram("gatewatch_finding_latency_seconds").observe(max(now - finding.ts, 0.0))

    def detector_time(self, detector: str, seconds: float) -> None:
        """Time one batch took in one detector."""
        self._counter("gatewatch_detector_seconds_total", detector=detector).inc(seconds)

    def detector_raised(self, detector: str) -> None:
        """A detector raised."""
        self._counter("gatewatch_detector_errors_total", detector=detector).inc()

    def quarantined(self, partitions: Mapping[str, int]) -> None:
        """In how many of this worker's partitions each detector is switched off."""
        for detector, n in partitions.items():
            self._gauge("gatewatch_detector_quarantined", detector=detector).set(n)

    def threshold_shift(self, detector: str, test: str, nats: float) -> None:
        """What calibration adds to a test's thresholds."""
        self._gauge("gatewatch_threshold_shift_nats", detector=detector, test=test).set(nats)

    def table(
        self, detector: str, table: str, *, rows: int, capacity: int, nbytes: int, evicted: int, refused: int
    ) -> None:
        """Sizes of one table, summed over this worker's partitions by the caller."""
        labels = {"detector": detector, "table": table}
        self._gauge("gatewatch_state_rows", **labels).set(rows)
        self._gauge("gatewatch_state_capacity", **labels).set(capacity)
        self._gauge("gatewatch_state_bytes", **labels).set(nbytes)
        self._follow("gatewatch_state_evictions_total", evicted, detector, table)
        self._follow("gatewatch_state_refusals_total", refused, detector, table)

    def snapshot(self, *, written: bool, nbytes: int) -> None:
        """One snapshot has ended."""
        self._counter("gatewatch_snapshots_total", result="written" if written else "dropped").inc()
        if written:
            self._gauge("gatewatch_snapshot_bytes").set(nbytes)

    def snapshot_written(self, at: float) -> None:
        """When the newest snapshot was written, epoch seconds."""
        self._gauge("gatewatch_snapshot_timestamp_seconds").set(at)

    def snapshot_pause(self, seconds: float) -> None:
        """The loop stood still to copy a task."""
        self._histogram("gatewatch_snapshot_pause_seconds").observe(seconds)

    def unreadable(self, of: str, n: int = 1) -> None:
        """A record of `routed` or `rollups` was passed over."""
        self._counter("gatewatch_unreadable_records_total", of=of).inc(n)

    def restored(self, *, fits: bool) -> None:
        """One task had a snapshot; whether it could begin there."""
        self._counter("gatewatch_restores_total", start="snapshot" if fits else "beginning").inc()

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

    def incident(self, incident: Incident) -> None:
        """One revision of an incident."""
        labels = {
            "severity": incident.severity.value,
            "status": incident.status.value,
            "mode": incident.mode.value,
        }
        self._counter("gatewatch_incidents_total", **labels).inc()

    def open_episodes(self, n: int) -> None:
        """How many are open."""
        self._gauge("gatewatch_open_episodes").set(n)

    def catalog_read(self, *, ok: bool) -> None:
        """The catalog's file has changed."""
        self._counter("gatewatch_catalog_reads_total", result="ok" if ok else "refused").inc()

    def open_incidents(self, n: int) -> None:
        """How many go on."""
        self._gauge("gatewatch_open_incidents").set(n)

    def decided_after(self, seconds: float) -> None:
        """How long an event took to become an alert or a decision."""
        self._histogram("gatewatch_decision_latency_seconds").observe(seconds)

    def worker(self, role: str, *, assigned: int, caught_up: bool) -> None:
        """How a role stands."""
        self._gauge("gatewatch_assigned_partitions", role=role).set(assigned)
        self._gauge("gatewatch_caught_up", role=role).set(int(caught_up))

    def received(self, result: str, nbytes: int = 0) -> None:
        """One request to the receiver, and the bytes that were written."""
        self._counter("gatewatch_received_total", result=result).inc()
        self._counter("gatewatch_received_bytes_total").inc(nbytes)

    def canary(self, hop: str, seconds: float | None) -> None:
        """One hop of a probe; ``None`` where it was silent, which ends the probe."""
        self._gauge("gatewatch_canary_silent", hop=hop).set(int(seconds is None))
        if seconds is not None:
            self._gauge("gatewatch_canary_hop_seconds", hop=hop).set(seconds)

    def receiver(self) -> None:
        """The receiver will run: make its series at zero."""
        for result in RECEIVED:
            self._counter("gatewatch_received_total", result=result)

    def receivers(self, names: Iterable[str]) -> None:
        """Notify will tell these: make their series at zero."""
        for name in names:
            self.notify_waiting(name, 0)
            for result in NOTIFY_RESULTS:
                self._counter("gatewatch_notifications_total", receiver=name, result=result)

    def notified(self, receiver: str, result: str) -> None:
        """What became of one revision at one receiver."""
        if receiver:
            self._counter("gatewatch_notifications_total", receiver=receiver, result=result).inc()

    def notify_waiting(self, receiver: str, n: int) -> None:
        """Messages that wait for a receiver."""
        self._gauge("gatewatch_notify_waiting", receiver=receiver).set(n)

    def log_line_dropped(self) -> None:
        """One line of our own log was left out."""
        self._counter("gatewatch_log_lines_dropped_total").inc()

    def _replace(self, name: str, values: Mapping[tuple[str, ...], float]) -> None:
        """Set a gauge for exactly these label values."""
        gauge = cast("Gauge", self._all[name])
        for gone in self._partitions.get(name, set()) - values.keys():
            gauge.remove(*gone)
        self._partitions[name] = set(values)
        for labels, value in values.items():
            gauge.labels(*labels).set(value)

    def _follow(self, name: str, total: int, detector: str, table: str) -> None:
        """Let a counter rise as a sum does; the sum falls when a partition goes, the counter does not."""
        before = self._sums.get((name, detector, table), 0)
        self._sums[name, detector, table] = total
        self._counter(name, detector=detector, table=table).inc(max(total - before, 0))

    def _counter(self, name: str, **labels: str) -> Counter:
        return cast("Counter", self._child(name, labels))

    def _gauge(self, name: str, **labels: str) -> Gauge:
        return cast("Gauge", self._child(name, labels))

    def _histogram(self, name: str) -> Histogram:
        return cast("Histogram", self._all[name])

    def _child(self, name: str, labels: dict[str, str]) -> object:
        metric = self._all[name]
        return metric.labels(**labels) if labels else metric


def _make(spec: Spec, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    labels = [label.name for label in spec.labels]
    if spec.kind == "counter":
        return Counter(spec.name.removesuffix("_total"), spec.meaning, labels, registry=registry)
    if spec.kind == "gauge":
        return Gauge(spec.name, spec.meaning, labels, registry=registry)
    return Histogram(spec.name, spec.meaning, labels, buckets=spec.buckets, registry=registry)
