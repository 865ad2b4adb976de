"""What a receiver is: it tries once and says how it went. Everything else (whom, when, how often) is outside it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import httpx

from gatewatch.notify.notice import Bulletin, Notice


class Result(StrEnum):
    """How one try went."""

    DELIVERED = "delivered"
    AGAIN = "again"  # a time-out, a limit, a fault of theirs: the same may go through later
    NEVER = "never"  # they understood and refuse: a person must mend the config


@dataclass(frozen=True, slots=True)
class Attempt:
    """The answer of a receiver.

    ``handle`` is what it needs to update the same message later; it may come with ``AGAIN``, where the message stands
    and something that belongs to it is still to be said.
    """

    result: Result
    detail: str = ""
    retry_after_s: float | None = None
    handle: str | None = None


@dataclass(frozen=True, slots=True)
class Traits:
    """How a receiver wants to be treated.

    Args:
        people: people read it: it is told of incidents as wholes, within limits, and small things together. Without it
            every revision of every alert goes there: a program takes what it needs.
        by_key: it recognises a conversation by its key: an end may be told of what it may never have heard of, and a
            kill between its answer and our record leaves nothing open there.
        every_revision: it can change what it has said, so it gets every revision; else only what is news.
        refresh_s: an open alert is told again after so many seconds, else it counts as over there.
        per_minute: new messages at most; ``None``: no limit.
        updates_per_minute: changes to messages at most.
    """

    people: bool
    by_key: bool = False
    every_revision: bool = False
    refresh_s: float | None = None
    per_minute: int | None = None
    updates_per_minute: int | None = None


class Receiver(Protocol):
    """One place where alerts go."""

    @property
    def name(self) -> str:
        """Of this receiver in routes, records and metrics."""
        ...

    @property
    def traits(self) -> Traits:
        """How it wants to be treated."""
        ...

    def wants(self, notice: Notice) -> bool:
        """Whether this belongs here at all (severity)."""
        ...

    def send(self, notice: Notice, handle: str | None) -> Attempt:
        """Try once. ``handle`` is that of the earlier delivery; must not raise for what the other side does."""
        ...

    def announce(self, bulletin: Bulletin) -> Attempt:
        """Try once to tell something that is no single alert."""
        ...

    def close(self) -> None:
        """Let go of connections; nothing is sent afterwards."""
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
        return min(max(0.0, float(text)), 86400.0) if text is not None else None
    except ValueError:
        return None


def failed(error: httpx.HTTPError) -> Attempt:
    """No answer at all: time-out, reset, refused."""
    return Attempt(Result.AGAIN, type(error).__name__)
