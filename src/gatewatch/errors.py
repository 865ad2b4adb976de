"""Every error that Gatewatch raises on purpose.

::

    GatewatchError
    |-- ConfigError            a setting is wrong: names the key, suggests the nearest
    |-- DecodeError            one event cannot be read: goes to dead letters with its place
    |-- LogError               the log (Kafka, memory, files) cannot do what was asked
    |   |-- BrokerError        no connection, or refused: says what to check
    |   |-- TopicMissingError  says how to create it
    |   |-- RecordTooLargeError
    |   |-- SendError          a record was not acknowledged: the worker must end, without a flush
    |   `-- FencedError        another worker owns our partitions now
    |-- StateError             a snapshot or a log does not fit this worker (seed, partitions, schema)
    |   `-- UnreadableError    one record of our own topics cannot be read: it is set aside, with its place
    |-- DetectorError          a detector folder is incomplete or broke its contract
    `-- VerdictError           a person's verdict or silence is refused: says what is missing

The message always says where (topic, partition, offset; file, line; config path) and what to do.
"""

from __future__ import annotations

from enum import StrEnum


class GatewatchError(Exception):
    """Something that Gatewatch itself reports; its text is meant for the user."""


class ConfigError(GatewatchError):
    """A setting is wrong.

    Args:
        path: of the key, with dots.
        problem: what is wrong, and how to mend it.
        place: file and line, where the setting comes from a file.
    """

    def __init__(self, path: str, problem: str, place: str = "") -> None:
        super().__init__(path, problem, place)
        self.path = path
        self.problem = problem
        self.place = place

    def __str__(self) -> str:
        return ": ".join(part for part in (self.place, self.path, self.problem) if part)


class BadReason(StrEnum):
    """Why an element became a dead letter: a closed set, so that it can be a metric label."""

    JSON = "json"  # not JSON, or not the JSON this format needs
    LINE = "line"  # a text line that does not match the format
    TYPE = "type"  # a field of the wrong type
    TIME = "time"  # no time, or one that cannot be read
    MISSING = "missing"  # a required field is absent
    RANGE = "range"  # a number out of any sense (NaN, negative size, status 9000)
    DEPTH = "depth"  # nested too deeply
    SIZE = "size"  # larger than the limit
    BATCH = "batch"  # records of a Kafka batch that is damaged, or unpacks to more than the limit
    RECORD = "record"  # a record of one of our own topics that none of our workers wrote, or that was damaged
    UNSUPPORTED = "unsupported"  # a known shape that cannot be used (APISIX meta_format origin)


class DecodeError(GatewatchError):
    """One event cannot be read."""

    def __init__(self, reason: BadReason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason.value}: {self.detail}"


class LogError(GatewatchError):
    """The log cannot do what was asked."""


class BrokerError(LogError):
    """No broker could be reached, or it refused us."""


class TopicMissingError(LogError):
    """A topic does not exist: create it with `gatewatch topics create`, or correct `sources:`."""


class RecordTooLargeError(LogError):
    """A record is larger than the log takes."""


class SendError(LogError):
    """A record was not acknowledged. The worker ends without a flush and starts again from what is committed."""


class FencedError(LogError):
    """Another worker owns our partitions now; this one must end."""


class StateError(GatewatchError):
    """State and worker do not fit: another hash seed, number of partitions or schema version."""


class UnreadableError(StateError):
    """One record of our own topics cannot be read: a stranger's, or damaged.

    One of another version is not that: its reader ends, and reads it when it is of that version, too.
    """


class DetectorError(GatewatchError):
    """A detector folder is incomplete, or broke its contract."""


class VerdictError(GatewatchError):
    """A verdict or silence is refused: by whom, why or until when is missing, or the person may not."""
