"""The words that records share: what a key is, what may be done, how grave it is."""

from __future__ import annotations

from enum import StrEnum

RESERVED = "gatewatch"  # the detector's name in alerts about Gatewatch itself


class Scope(StrEnum):
    """What a key is: the type of the thing that a finding accuses and that a decision stops."""

    PRINCIPAL = "principal"
    CREDENTIAL = "credential"
    ACCOUNT = "account"
    IP = "ip"
    NETWORK = "network"
    ENDPOINT = "endpoint"
    PROJECT = "project"
    ALL = "all"


class Mode(StrEnum):
    """What a finding may cause; each includes those before it."""

    OFF = "off"
    SHADOW = "shadow"
    ALERT = "alert"
    BLOCK = "block"


class Severity(StrEnum):
    """How soon a person must look."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for info to 4 for critical."""
        return _RANKS[self]


_RANKS = {severity: rank for rank, severity in enumerate(Severity)}


class Opinion(StrEnum):
    """What a detector can say about a key now. "No opinion" is never the same as "normal"."""

    WARMING = "warming"
    QUIET = "quiet"
    FINDING = "finding"
    BLIND = "blind"


class Status(StrEnum):
    """Where an alert stands."""

    OPEN = "open"
    UPDATED = "updated"
    RESOLVED = "resolved"


class Action(StrEnum):
    """What a gateway does to requests of a key, weakest first."""

    CHALLENGE = "challenge"
    THROTTLE = "throttle"
    BLOCK = "block"


class VerdictKind(StrEnum):
    """What a person says about an alert or an incident."""

    TRUE = "true"  # it is what it says
    FALSE_ALARM = "false_alarm"  # it is not: nothing happened
    EXPECTED = "expected"  # it happened, and may, until a time: a load test, a migration
    SNOOZE = "snooze"  # not now: tell again after a time, or when it gets worse
    ACKNOWLEDGE = "acknowledge"  # somebody is on it
    APPROVE = "approve"  # the orders that wait for a second person may hold
    REJECT = "reject"  # they shall not
