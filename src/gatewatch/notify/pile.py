"""What is told together: digests of low severity, what waited for the morning, "and 41 more".

A line is recorded in `actions` when it goes on a pile, and the bulletin that tells it when it was told, so a restart
builds the piles again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import floor

from gatewatch.notify.cap import WINDOW_S
from gatewatch.notify.dedup import LISTS, Why
from gatewatch.notify.notice import LINES_MAX, Bulletin, Line, Notice
from gatewatch.notify.record import Action
from gatewatch.notify.words import cut, shown, utc
from gatewatch.records import Severity, Status
from gatewatch.settings import NotifySettings

LINE_MAX = 200  # characters of one line: two on a phone
PILE_MAX = 100_000  # lines of one pile; more are counted with the oldest left out of the list
_TITLES = {
    Why.DIGEST: "small alerts since the last digest",
    Why.QUIET: "small alerts during quiet hours",
    Why.CAPPED: "more alerts, beyond the limit of messages a minute",
    Why.LATE: "alerts that could not be told in time",
}


@dataclass(frozen=True, slots=True)
class _Entry:
    line: Line
    ts: float


def line_of(notice: Notice) -> str:
    """One conversation in one line."""
    over = " (resolved)" if notice.status is Status.RESOLVED else ""
    return cut(f"{utc(notice.alert.first_ts)} {shown(notice.summary)}{over} [{notice.key}]", LINE_MAX)


def list_for(notice: Notice, settings: NotifySettings, now: float) -> Why | None:
    """Whether a new conversation is told with others: low severity, or little during quiet hours."""
    rank, quiet, digest = notice.severity.rank, settings.quiet, settings.digest
    if digest is not None and rank <= digest.severity.rank:
        return Why.DIGEST
    if quiet is not None and rank <= quiet.severity.rank and quiet.holds(now):
        return Why.QUIET
    return None


class Piles:
    """The piles of one receiver. One thread only."""

    def __init__(self, receiver: str, settings: NotifySettings) -> None:
        self._receiver, self._settings = receiver, settings
        self._piles: dict[Why, list[_Entry]] = {why: [] for why in Why if why in LISTS}
        self._told = 0  # bulletins so far: part of the next one's id

    def note(self, action: Action) -> None:
        """Something that was recorded: a line for a pile, or a bulletin that told the first lines of one."""
        if action.receiver != self._receiver:
            return
        if action.kind == "bulletin" and action.detail in LISTS and action.result in ("delivered", "never"):
            del self._piles[Why(action.detail)][: action.count]
            self._told += 1
        elif action.kind == "notify" and action.result in LISTS and action.line:
            pile = self._piles[Why(action.result)]
            pile.append(_Entry(Line(Severity(action.severity), action.line), action.ts))
            del pile[:-PILE_MAX]

    def due(self, now: float, *, sending: frozenset[Why] = frozenset()) -> list[tuple[Why, Bulletin, int]]:
        """Bulletins that are to be told now: the pile, the text, and how many lines it tells."""
        return [
            (why, self._bulletin(why, pile), len(pile))
            for why, pile in self._piles.items()
            if pile and why not in sending and self._is_due(why, pile[0].ts, now)
        ]

    def _is_due(self, why: Why, since: float, now: float) -> bool:
        if why is Why.DIGEST:
            every = self._settings.digest.every if self._settings.digest is not None else 0.0
            return every <= 0.0 or now >= (floor(since / every) + 1) * every
        if why is Why.QUIET:
            return self._settings.quiet is None or not self._settings.quiet.holds(now)
        return now - since >= WINDOW_S / 2  # others may follow: at most two of these messages a minute

    def _bulletin(self, why: Why, pile: list[_Entry]) -> Bulletin:
        counts = Counter(entry.line.severity for entry in pile)
        grave = sorted(counts, key=lambda severity: -severity.rank)
        lines = sorted((entry.line for entry in pile), key=lambda line: -line.severity.rank)
        by = ", ".join(f"{counts[severity]:,} {severity.value}" for severity in grave)
        return Bulletin(
            id=f"{why.value}-{int(pile[0].ts)}-{self._told}",
            title=f"{len(pile):,} {_TITLES[why]} ({by})",
            severity=grave[0],
            lines=tuple(lines[:LINES_MAX]),
            more=max(len(lines) - LINES_MAX, 0),
            footer=f"all of them: gatewatch alerts list (since {utc(pile[0].ts)})",
        )
