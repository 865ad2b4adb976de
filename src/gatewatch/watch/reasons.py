"""The closed set of ways to be blind, each with its severity, its unit and the setting that moves its limit."""

from __future__ import annotations

from dataclasses import dataclass

from gatewatch.records import Severity
from gatewatch.records.words import RESERVED
from gatewatch.sdk import Reason

NAME = RESERVED  # the detector's name in findings and alerts
VERSION = 1
# All watchers speak as one task, by the wall clock: far above those of detect (partitions, and the slow lane's).
TASK = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Blindness:
    """One way to be blind. ``thing`` names what the alert is about, with ``{}`` for a topic, table or detector."""

    reason: Reason
    thing: str
    setting: str


def _of(code: int, name: str, title: str, unit: str, severity: Severity, thing: str, setting: str) -> Blindness:
    return Blindness(Reason(code, name, title, unit, severity, learned=False), thing, setting)


PAUSED = _of(
    0, "source_paused", "Reading is paused: too much cannot be read", "elements in a row or of the last ones",
    Severity.HIGH, "pause of {}", "ingest.dead_letter_run, ingest.dead_letter_share",
)  # fmt: skip
LOST = _of(
    1, "source_lost", "Events were removed before they were read", "offsets", Severity.HIGH, "gap in {}",
    "the topic's retention",
)  # fmt: skip
BEHIND = _of(2, "behind", "Reading is late", "seconds late", Severity.HIGH, "lag of {}", "watch.behind")
SILENT = _of(
    3, "source_silent", "Nothing arrives", "seconds of silence", Severity.HIGH, "silence of {}",
    "watch.silence, sources[].silent_after",
)  # fmt: skip
FIELD = _of(
    4, "field_gone", "A field that detectors need no longer arrives", "seconds of traffic without it", Severity.MEDIUM,
    "field {}", "watch.silence",
)  # fmt: skip
DEAD = _of(
    5, "dead_letters", "Too much cannot be read", "of all elements", Severity.MEDIUM, "dead letters of {}",
    "watch.dead_letter_share",
)  # fmt: skip
CROWDED = _of(
    6, "table_crowded", "A detector forgets keys it should know", "of its table's keys an hour", Severity.LOW,
    "table {}", "watch.evicted_share",
)  # fmt: skip
OFF = _of(
    7, "detector_off", "A detector is switched off because it raised", "partitions without it", Severity.HIGH,
    "detector {}", "none: mend the detector",
)  # fmt: skip
MUTE = _of(
    8, "detect_silent", "No sign of life from detection", "seconds without a sign", Severity.HIGH, "signs of {}",
    "watch.behind",
)  # fmt: skip
UNREADABLE = _of(
    9, "record_unreadable", "A record between our own workers cannot be read", "records", Severity.HIGH,
    "records of {}", "none: see who may write to the topic",
)  # fmt: skip

ALL = (PAUSED, LOST, BEHIND, SILENT, FIELD, DEAD, CROWDED, OFF, MUTE, UNREADABLE)
REASONS = tuple(blindness.reason for blindness in ALL)
