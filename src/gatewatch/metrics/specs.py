"""Every metric: name, type, unit, labels, meaning. ``docs/metrics.md`` is made from it.

Labels come from closed sets: topics of the config, detectors that are installed, and enumerations; never a key, an
address or anything else that a stranger can write.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from gatewatch.errors import BadReason
from gatewatch.records import Action, Mode, Scope, Severity, Status

Kind = Literal["counter", "gauge", "histogram"]

# Around the targets (DESIGN section 8: p50 50 ms, p99 150 ms), up to a minute for what waits behind a restart.
_SECONDS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
_PAUSES = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)  # the target is 50 ms for 100 MB
_ROWS = (1, 10, 50, 100, 500, 1000, 5000)  # ingest.batch_rows is 1,000
_BYTES = (1e3, 1e4, 1e5, 524_288, 1e6, 5e6)  # ingest.batch_bytes is 512 KiB
SENT_MODES = (Mode.SHADOW, Mode.ALERT, Mode.BLOCK)  # off makes no record
STOPPABLE = (Scope.PRINCIPAL, Scope.CREDENTIAL, Scope.ACCOUNT, Scope.IP, Scope.NETWORK)

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
_TEST = Label("test", "learned tests of the detector")
_TABLE = Label("table", "tables of the detector")
_REASON = Label("reason", "reasons of the detector")
_BLINDNESS = Label("reason", "reasons of the detector `gatewatch`")
_GUARD = Label("guard", "names of the guards")
_RECEIVER = Label("receiver", "names of the receivers in `notify:`")
_SCOPE = _one_of("scope", Scope)
_MODE = _one_of("mode", SENT_MODES)
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
        "gatewatch_unreadable_records_total",
        "counter",
        "records",
        (_one_of("of", ("routed", "rollups")),),
        "Records of our own topics that detect passed over: no worker wrote them, or they were damaged.",
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
    Spec(
        "gatewatch_threshold_shift_nats",
        "gauge",
        "nats",
        (_DETECTOR, _TEST),
        "What calibration adds to the model's thresholds of a test; the mean of this worker's partitions.",
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
        (_one_of("action", Action), _one_of("scope", STOPPABLE), _MODE),
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
