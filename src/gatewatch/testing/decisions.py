"""Decisions to put into ledgers."""

from __future__ import annotations

from itertools import count

from gatewatch.clock import ManualClock
from gatewatch.enforce.ledger import Ledger
from gatewatch.records import Action, Decision, Mode, Scope

NOW = 1_800_000_000.0
_offsets = count()


def decision(
    value: str,
    scope: Scope = Scope.IP,
    *,
    id_: str | None = None,
    action: Action = Action.BLOCK,
    ttl_s: float = 600.0,
    mode: Mode = Mode.BLOCK,
    removed: float | None = None,
) -> Decision:
    """A decision that began at ``NOW``."""
    return Decision(
        id=id_ or f"{scope}:{value}:{action}",
        action=action,
        scope=scope,
        value=value,
        reason="stuffing",
        detector="credential_stuffing",
        start=NOW,
        until=NOW + ttl_s,
        mode=mode,
        removed=removed,
    )


def ledger(*decisions: Decision, clock: ManualClock | None = None) -> Ledger:
    """A ledger that holds them."""
    made = Ledger()
    for d in decisions:
        put(made, d, clock)
    return made


def put(target: Ledger, d: Decision, clock: ManualClock | None = None) -> None:
    """One more record of the topic."""
    target.apply(d, next(_offsets), clock.now() if clock else NOW)
