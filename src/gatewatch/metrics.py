"""Every metric, in one place: name, type, unit, labels, meaning. ``docs/metrics.md`` is made from it.

Labels come from closed sets: topics of the config, detectors that are installed, and enumerations; never a key, an
address or anything else that a stranger can write. Series that a role can have are made at zero when it starts, so that
``increase()`` sees the first one. Counting costs some microseconds, so it is done once a batch.

``python -m gatewatch.metrics`` prints docs/metrics.md.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from math import isfinite
from typing import Literal, TypeVar, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from gatewatch.errors import BadReason
from gatewatch.records import Action, Alert, Decision, Finding, Incident, Mode, Refusal, Scope, Severity, Status

TP = TypeVar("TP", bound=tuple[str, int])  # a topic and a partition
Kind = Literal["counter", "gauge", "histogram"]

# Around the targets (DESIGN section 8: p50 50 ms, p99 150 ms), up to a minute for what waits behind a restart.
_SECONDS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
_PAUSES = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)  # the target is 50 ms for 100 MB
_ROWS = (1, 10, 50, 100, 500, 1000, 5000)  # ingest.batch_rows is 1,000
_BYTES = (1e3, 1e4, 1e5, 524_288, 1e6, 5e6)  # ingest.batch_bytes is 512 KiB
_SENT_MODES = (Mode.SHADOW, Mode.ALERT, Mode.BLOCK)  # off makes no record
_STOPPABLE = (Scope.PRINCIPAL, Scope.CREDENTIAL, Scope.ACCOUNT, Scope.IP, Scope.NETWORK)

HOPS = ("kafka", "gateway", "source", "detect", "decide", "enforce", "release")  # of the canary, in order
RECEIVED = ("ok", "refused", "busy", "failed")  # how a request to the receiver may end

# What can become of a revision at a receiver: delivered, refused (never), escalated (due), or the reason why not
NOTIFY_RESULTS = (
    "delivered", "never", "due", "shadow", "repeated", "unchanged", "superseded", "unrouted", "unwanted", "silenced",
    "listed", "digest", "quiet", "capped", "late",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Label:
    """One label, and the closed set that its values come from."""

    name: str
    values: str


@dataclass(frozen=True, slots=True)
class Spec:
    """What one metric is."""

    name: str
    kind: Kind
    unit: str
    labels: tuple[Label, ...]
    meaning: str
    buckets: tuple[float, ...] = _SECONDS


def _one_of(name: str, values: Iterable[str]) -> Label:
    return Label(name, ", ".join(values))


_TOPIC = Label("topic", "topics of `sources:`")
_SOURCE_PARTITION = Label("partition", "partitions of the source")
_PARTITION = Label("partition", "partitions of `routed`")
_DETECTOR = Label("detector", "detectors that are installed")
_TABLE = Label("table", "tables of the detector")
_REASON = Label("reason", "reasons of the detector")
_BLINDNESS = Label("reason", "reasons of the detector `gatewatch`")
_GUARD = Label("guard", "names of the guards")
_RECEIVER = Label("receiver", "names of the receivers in `notify:`")
_SCOPE = _one_of("scope", Scope)
_MODE = _one_of("mode", _SENT_MODES)
_ROLE = _one_of("role", ("ingest", "detect", "detect-slow", "decide", "notify", "enforce"))

SPECS = (
    Spec(
        "gatewatch_events_total",
        "counter",
        "events",
        (_TOPIC, _one_of("result", ("ok", "dead"))),
        "Elements of source values: read, or sent to dead letters.",
    ),
    Spec(
        "gatewatch_dead_letters_total",
        "counter",
        "elements",
        (_TOPIC, _one_of("reason", BadReason)),
        "Elements that could not be read, by why.",
    ),
    Spec(
        "gatewatch_moved_rows_total",
        "counter",
        "events",
        (),
        "Events whose time was more than 7 days old or 5 s in the future, and was moved to that bound.",
    ),
    Spec("gatewatch_batch_rows", "histogram", "rows", (), "Rows of a routed batch.", _ROWS),
    Spec("gatewatch_batch_bytes", "histogram", "bytes", (), "Size of a routed batch.", _BYTES),
    Spec("gatewatch_sends_in_flight", "gauge", "records", (), "Records sent and not yet acknowledged."),
    Spec("gatewatch_source_lag", "gauge", "records", (_TOPIC, _SOURCE_PARTITION), "Records of a source not yet read."),
    Spec(
        "gatewatch_source_paused",
        "gauge",
        "0 or 1",
        (_TOPIC, _SOURCE_PARTITION),
        "Whether a source partition is not read because too much of it cannot be.",
    ),
    Spec("gatewatch_routed_lag", "gauge", "records", (_PARTITION,), "Records of `routed` not yet read."),
    Spec(
        "gatewatch_blind",
        "gauge",
        "things",
        (_BLINDNESS,),
        "What this worker cannot see now; each is an alert of the detector `gatewatch`, too.",
    ),
    Spec(
        "gatewatch_watermark_timestamp_seconds",
        "gauge",
        "epoch seconds",
        (_PARTITION,),
        "Event time up to which a detect task has seen everything; `time() - this` is its age.",
    ),
    Spec(
        "gatewatch_rows_total", "counter", "rows", (), "Rows that detect tasks have applied, those read again included."
    ),
    Spec(
        "gatewatch_ranges_total",
        "counter",
        "ranges",
        (_one_of("result", ("refused", "repeated", "lost")),),
        "Source ranges that detect refused (too early) or trimmed (repeated), and source offsets that were lost.",
    ),
    Spec("gatewatch_findings_total", "counter", "findings", (_DETECTOR, _SCOPE, _REASON), "Findings."),
    Spec(
        "gatewatch_finding_latency_seconds",
        "histogram",
        "seconds",
        (),
        "From the end of a request (its `ts`) to the finding that it caused.",
    ),
    Spec("gatewatch_detector_seconds_total", "counter", "seconds", (_DETECTOR,), "Time spent in a detector."),
    Spec("gatewatch_detector_errors_total", "counter", "errors", (_DETECTOR,), "Batches at which a detector raised."),
    Spec(
        "gatewatch_detector_quarantined",
        "gauge",
        "partitions",
        (_DETECTOR,),
        "Partitions of this worker in which a detector is switched off because it raised.",
    ),
    Spec("gatewatch_state_rows", "gauge", "rows", (_DETECTOR, _TABLE), "Keys in a detector's table."),
    Spec("gatewatch_state_capacity", "gauge", "rows", (_DETECTOR, _TABLE), "Keys that fit in a detector's table."),
    Spec("gatewatch_state_bytes", "gauge", "bytes", (_DETECTOR, _TABLE), "Memory of a detector's table."),
    Spec(
        "gatewatch_state_evictions_total",
        "counter",
        "keys",
        (_DETECTOR, _TABLE),
        "Keys that lost their row to another.",
    ),
    Spec(
        "gatewatch_state_refusals_total",
        "counter",
        "events",
        (_DETECTOR, _TABLE),
        "Events whose key got no row; they still count in totals.",
    ),
    Spec(
        "gatewatch_snapshots_total",
        "counter",
        "snapshots",
        (_one_of("result", ("written", "dropped")),),
        "Snapshots of tasks: written, or dropped because the log did not take them or the partition went.",
    ),
    Spec("gatewatch_snapshot_bytes", "gauge", "bytes", (), "Size of the newest snapshot of this worker, compressed."),
    Spec(
        "gatewatch_snapshot_timestamp_seconds",
        "gauge",
        "epoch seconds",
        (),
        "When the newest snapshot of this worker was written; its age is `time()` less this.",
    ),
    Spec(
        "gatewatch_snapshot_pause_seconds",
        "histogram",
        "seconds",
        (),
        "How long a worker's loop stood still to copy a task's memory, or a part of it.",
        _PAUSES,
    ),
    Spec(
        "gatewatch_restores_total",
        "counter",
        "tasks",
        (_one_of("start", ("snapshot", "beginning")),),
        "Tasks that began at a snapshot, or had one and read their log from its beginning all the same.",
    ),
    Spec(
        "gatewatch_alerts_total",
        "counter",
        "revisions",
        (_DETECTOR, _one_of("severity", Severity), _one_of("status", Status), _MODE),
        "Revisions of alerts.",
    ),
    Spec(
        "gatewatch_decisions_total",
        "counter",
        "decisions",
        (_one_of("action", Action), _one_of("scope", _STOPPABLE), _MODE),
        "Orders to gateways.",
    ),
    Spec("gatewatch_refusals_total", "counter", "refusals", (_GUARD,), "Orders that a guard did not let pass."),
    Spec("gatewatch_open_episodes", "gauge", "episodes", (), "Episodes that are open."),
    Spec(
        "gatewatch_incidents_total",
        "counter",
        "revisions",
        (_one_of("severity", Severity), _one_of("status", Status), _MODE),
        "Revisions of incidents.",
    ),
    Spec(
        "gatewatch_catalog_reads_total",
        "counter",
        "reads",
        (_one_of("result", ("ok", "refused")),),
        "How often decide has read a changed catalog; of one that was refused the old one holds.",
    ),
    Spec("gatewatch_open_incidents", "gauge", "incidents", (), "Incidents that go on."),
    Spec(
        "gatewatch_decision_latency_seconds",
        "histogram",
        "seconds",
        (),
        "From ingest sending an event to the alert or decision that it caused.",
    ),
    Spec("gatewatch_assigned_partitions", "gauge", "partitions", (_ROLE,), "Partitions that this worker has."),
    Spec("gatewatch_caught_up", "gauge", "0 or 1", (_ROLE,), "Whether there is nothing old left to read."),
    Spec(
        "gatewatch_received_total",
        "counter",
        "requests",
        (_one_of("result", RECEIVED),),
        "Requests to `gatewatch receive`: acknowledged by Kafka, refused, sent away because too much was in flight, or "
        "failed with the broker.",
    ),
    Spec(
        "gatewatch_canary_hop_seconds",
        "gauge",
        "seconds",
        (_one_of("hop", HOPS),),
        "How long this hop of the last probe of `gatewatch canary` took.",
    ),
    Spec(
        "gatewatch_canary_silent",
        "gauge",
        "0 or 1",
        (_one_of("hop", HOPS),),
        "Whether the last probe ended at this hop.",
    ),
    Spec("gatewatch_received_bytes_total", "counter", "bytes", (), "Unpacked bytes that Kafka acknowledged."),
    Spec(
        "gatewatch_notifications_total",
        "counter",
        "revisions",
        (_RECEIVER, _one_of("result", NOTIFY_RESULTS)),
        "What became of revisions of alerts at each receiver; `never` is a refusal that a person must mend.",
    ),
    Spec(
        "gatewatch_notify_waiting",
        "gauge",
        "messages",
        (_RECEIVER,),
        "Messages that wait for a receiver: because it is down, or because of its limit.",
    ),
    Spec(
        "gatewatch_log_lines_dropped_total",
        "counter",
        "lines",
        (),
        "Lines of Gatewatch's own log left out because the same was said too often.",
    ),
)


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

    def policy(self, detectors: Iterable[str], guards: Iterable[str]) -> None:
        """Decide will judge by these: make their series at zero."""
        for detector, severity, status, mode in product(detectors, Severity, Status, _SENT_MODES):
            labels = {"detector": detector, "severity": severity.value, "status": status.value, "mode": mode.value}
            self._counter("gatewatch_alerts_total", **labels)
        for action, scope, mode in product(Action, _STOPPABLE, _SENT_MODES):
            self._counter("gatewatch_decisions_total", action=action.value, scope=scope.value, mode=mode.value)
        for result in ("ok", "refused"):
            self._counter("gatewatch_catalog_reads_total", result=result)
        for severity, status, mode in product(Severity, Status, _SENT_MODES):
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


def table() -> str:
    """The text of docs/metrics.md."""
    lines = [
        "# Metrics",
        "",
        "Made from `src/gatewatch/metrics.py` by `python -m gatewatch.metrics`; a test holds the two together.",
        "Each worker process serves its own at `/metrics`. Labels come from closed sets: nothing that a stranger can",
        "write is ever a label. [operations.md](operations.md) says which ones to alert on.",
        "",
        "| name | type | unit | labels | meaning |",
        "|---|---|---|---|---|",
    ]
    for spec in SPECS:
        labels = "; ".join(f"`{label.name}`: {label.values}" for label in spec.labels)
        lines.append(f"| `{spec.name}` | {spec.kind} | {spec.unit} | {labels} | {spec.meaning} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(table())
