"""`decisions`: what gateways are told, and what guards refused."""

from __future__ import annotations

from pydantic import ConfigDict

from gatewatch.records.model import Model
from gatewatch.records.words import Action, Mode, Scope

# A century. Bouncers of CrowdSec hold a duration in 64 bits of nanoseconds, which is 292 years, and stop at more.
LONGEST_S = 36_525 * 86_400.0


class Decision(Model):
    """One order to the gateways. Always has an end.

    The compaction key of the topic is ``id``; a removed decision is written again with ``removed`` set.
    """

    model_config = ConfigDict(allow_inf_nan=False)  # no time is compared with what is no time

    id: str
    action: Action
    scope: Scope
    value: str  # the key; for ip and network an address or CIDR
    reason: str
    detector: str | None = None  # None: a person's
    alert_id: str | None = None
    start: float
    until: float
    mode: Mode  # shadow: recorded, never enforced
    offence: int = 1  # how often in a row; the TTL climbs with it
    findings_offset: int = -1  # what caused it; -1: a person
    removed: float | None = None
    removed_by: str | None = None
    actor: str | None = None  # the person, where it was one


class Refusal(Model):
    """A decision that a guard did not let pass: recorded with the guard's name."""

    scope: Scope
    value: str
    guard: str
    reason: str
    alert_id: str
