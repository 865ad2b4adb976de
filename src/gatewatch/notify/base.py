"""What a receiver is: it tries once and says how it went. Retrying, deduplication and records are outside it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import httpx

from gatewatch.records import Alert


class Result(StrEnum):
    """How one try went."""

    DELIVERED = "delivered"
    AGAIN = "again"  # a time-out, a limit, a fault of theirs: the same may go through later
    NEVER = "never"  # they understood and refuse: a person must mend the config


@dataclass(frozen=True, slots=True)
class Attempt:
    """The answer of a receiver. ``handle`` is what it needs to update the same message later."""

    result: Result
    detail: str = ""
    retry_after_s: float | None = None
    handle: str | None = None

    @classmethod
    def none(cls) -> Attempt:
        """Nothing was tried."""
        return cls(Result.NEVER)


class Receiver(Protocol):
    """One place where alerts go."""

    @property
    def name(self) -> str:
        """Of this receiver in records and metrics: slack, pagerduty, alertmanager, webhook."""
        ...

    def wants(self, alert: Alert) -> bool:
        """Whether this revision belongs here at all (severity, project)."""
        ...

    def send(self, alert: Alert, playbook: str, handle: str | None) -> Attempt:
        """Try once. ``handle`` is that of the alert's earlier delivery; must not raise for what the other side does."""
        ...


# What HTTP statuses mean where a receiver does not know better (contracts.md 9-11): the rest of 4xx is our own fault.
_AGAIN = frozenset({408, 425, 429})


def judge(response: httpx.Response) -> Attempt:
    """An HTTP answer as an attempt. The body is not kept: it may quote what we sent."""
    status = response.status_code
    if 200 <= status < 300:
        return Attempt(Result.DELIVERED)
    if status in _AGAIN or status >= 500:
        return Attempt(Result.AGAIN, f"HTTP {status}", retry_after(response.headers.get("retry-after")))
    return Attempt(Result.NEVER, f"HTTP {status}")


def retry_after(text: str | None) -> float | None:
    """Seconds of a Retry-After header; dates are not used by the services we speak to.

    >>> retry_after("30"), retry_after("Tue, 24 Nov 2026 12:00:00 GMT"), retry_after(None)
    (30.0, None, None)
    """
    try:
        return max(0.0, float(text)) if text is not None else None
    except ValueError:
        return None


def failed(error: httpx.HTTPError) -> Attempt:
    """No answer at all: time-out, reset, refused."""
    return Attempt(Result.AGAIN, type(error).__name__)
