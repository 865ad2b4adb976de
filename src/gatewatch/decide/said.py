"""What people said about alerts, as decide takes it: from which ``findings`` offset on, and what it means.

As people's orders (``orders.py``) a verdict takes effect at one offset, which is written back, so that a replay of the
log treats it at the same place. What got graver than it was when the person looked is no longer covered by what they
said.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from heapq import heappop, heappush

from pydantic import ValidationError

from gatewatch.decide.episodes import EpisodeKey
from gatewatch.decide.guards import utc
from gatewatch.decide.text import clean
from gatewatch.records import Scope, Severity, Verdict, VerdictKind
from gatewatch.settings import AllowEntry
from gatewatch.state.plans import UNSAVED

# Each costs a guard about a microsecond a candidate. A site with more expectations than this should write them into
# guards.allow as networks; the oldest go first, and their keys are treated as before.
EXPECTED_MAX = 2_000
_ALLOWED = frozenset({Scope.IP, Scope.NETWORK, Scope.PRINCIPAL, Scope.CREDENTIAL, Scope.ACCOUNT})
# These close an alert and let the key go
CLOSING = frozenset({VerdictKind.FALSE_ALARM, VerdictKind.EXPECTED})
SEEN = frozenset({VerdictKind.ACKNOWLEDGE, VerdictKind.TRUE, VerdictKind.APPROVE, VerdictKind.REJECT})


@dataclass(slots=True)
class Said:
    """Verdicts that will take effect, and what is expected until when."""

    _coming: list[tuple[int, int, Verdict]] = field(default_factory=list)
    _turn: int = 0  # of the next that is scheduled
    _expected: OrderedDict[EpisodeKey, Verdict] = field(default_factory=OrderedDict)
    _allowed: list[AllowEntry] | None = field(default=None, metadata=UNSAVED)  # what follows; None: to be made

    def schedule(self, verdict: Verdict, offset: int) -> None:
        """Let a verdict take effect before the findings of ``offset``."""
        heappush(self._coming, (offset, self._turn, verdict))
        self._turn += 1

    @property
    def pending(self) -> bool:
        """Whether some will."""
        return bool(self._coming)

    def take_effect(self, offset: int) -> list[Verdict]:
        """Those that are due, in the order in which they were heard."""
        due: list[Verdict] = []
        while self._coming and self._coming[0][0] <= offset:
            due.append(heappop(self._coming)[2])
        return due

    def expect(self, key: EpisodeKey, verdict: Verdict) -> None:
        """From now on the key is expected to do this, until the verdict ends."""
        self._expected[key] = verdict
        self._expected.move_to_end(key)
        if len(self._expected) > EXPECTED_MAX:
            self._expected.popitem(last=False)
        self._allowed = None

    def expected(self, key: EpisodeKey, ts: float, level: Severity) -> Verdict | None:
        """The verdict that covers something on a key at ``ts``, unless it is graver than what was judged."""
        verdict = self._expected.get(key)
        if verdict is None or verdict.until is None or ts >= verdict.until:
            return None
        return verdict if level.rank <= verdict.severity.rank else None

    def allowed(self) -> list[AllowEntry]:
        """What guards must let through beside the settings' own list; each ends by itself."""
        if self._allowed is None:
            entries = (_entry(key, verdict) for key, verdict in self._expected.items())
            self._allowed = [entry for entry in entries if entry is not None]
        return self._allowed


def words(verdict: Verdict) -> str:
    """A verdict in one line: "expected, says ana, until 2026-12-01 00:00 UTC: load test"."""
    until = "" if verdict.until is None else f", until {utc(verdict.until)}"
    return f"{verdict.kind.value.replace('_', ' ')}, says {clean(verdict.actor)}{until}: {clean(verdict.reason, 256)}"


def _entry(key: EpisodeKey, verdict: Verdict) -> AllowEntry | None:
    """``None`` where orders cannot name such a key anyway."""
    if key.scope not in _ALLOWED or verdict.until is None:
        return None
    fields = {key.scope: key.key, "owner": verdict.actor, "reason": verdict.reason, "until": verdict.until}
    try:
        return AllowEntry.model_validate(fields)
    except ValidationError:  # an address that is none: nobody can be blocked by it
        return None
