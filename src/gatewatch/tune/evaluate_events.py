"""The events of an evaluation as columns: when, which keys, which attack; and what was known of each when it came.

Keys are the keyed hashes of a replay, so the text of a key is hashed once and compared as a number. Memory: 88 bytes an
event.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gatewatch.events.address import canonical_ip
from gatewatch.events.formats import get as get_format
from gatewatch.flow import REPLAY_SEED
from gatewatch.ingest.bounds import TimeBounds
from gatewatch.ingest.columns import Cleaner
from gatewatch.records import Finding, Scope
from gatewatch.settings import Source
from gatewatch.state.hashing import hash_column, hash_text
from gatewatch.tune.evaluate_labels import Attack, Truth, spelt

KEYED = tuple(scope for scope in Scope if scope is not Scope.ALL)
COARSE = (Scope.ENDPOINT, Scope.PROJECT, Scope.ALL)
BENIGN = -1
DAY_S = 86400.0
# A finding speaks for what its key does next. Detectors tell an excursion again after 5 minutes, and an episode is over
# after 10 without a word (decide.episodes): so long what was said still holds.
HOLDS_S = 600.0

Floats = npt.NDArray[np.float64]
Hashes = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]


@dataclass(slots=True)
class Events:
    """Events in the order of the file, (n,) each.

    Attributes:
        ts: epoch seconds, as ingest bounds them.
        keys: by scope, the hash of each event's key, 0 where it has none.
        request_id: hashes.
        attack: index into :attr:`Truth.attacks`, :data:`BENIGN` for none.
    """

    ts: Floats
    keys: dict[Scope, Hashes]
    request_id: Hashes
    attack: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.ts)

    @property
    def hostile(self) -> Bools:
        """Which events are an attack's."""
        hostile: Bools = self.attack != BENIGN
        return hostile

    def key_days(self, scopes: Iterable[Scope]) -> tuple[Hashes, Floats]:
        """Distinct keys of benign events in some scopes, and on how many days (UTC) each was active."""
        benign = ~self.hostile
        day = np.floor(self.ts[benign] / DAY_S).astype(np.uint64)
        keys, days = [np.zeros(0, np.uint64)], [np.zeros(0)]
        for scope in scopes:
            key = np.ones(len(day), np.uint64) if scope is Scope.ALL else self.keys[scope][benign]
            pairs = np.unique(np.stack([key, day], axis=1)[key != 0], axis=0)
            found, n = np.unique(pairs[:, 0], return_counts=True)
            keys.append(found)
            days.append(n.astype(np.float64))
        return np.concatenate(keys), np.concatenate(days)


class Collector:
    """Gathers the columns of a replay, chunk by chunk. Cost: about 4 us an event, beside what the replay costs."""

    def __init__(self, source: Source) -> None:
        self._format = get_format(source.format, source=source)
        self._cleaner = Cleaner(REPLAY_SEED)
        self._bounds = TimeBounds(None)
        self._parts: list[tuple[Floats, dict[Scope, Hashes], Hashes]] = []

    def add(self, values: Sequence[bytes]) -> None:
        """Values as they stand in a topic; what cannot be read is left out, as ingest does."""
        events = self._format.decode(values).events
        if not events:
            return
        columns = self._cleaner.columns(events)
        ts, _moved = self._bounds.move(columns.numbers["ts_raw"])
        keys: dict[Scope, Hashes] = {scope: hash_column(columns[scope.value], REPLAY_SEED) for scope in KEYED}
        self._parts.append((ts, keys, hash_column(columns["request_id"], REPLAY_SEED)))

    def events(self, truth: Truth) -> Events:
        """All of them, each with its attack."""
        parts = self._parts
        events = Events(
            ts=np.concatenate([np.zeros(0), *(ts for ts, _, _ in parts)]),
            keys={s: np.concatenate([np.zeros(0, np.uint64), *(k[s] for _, k, _ in parts)]) for s in KEYED},
            request_id=np.concatenate([np.zeros(0, np.uint64), *(ids for _, _, ids in parts)]),
            attack=np.zeros(0, np.int32),
        )
        events.attack = _attacks(events, truth)
        return events


def key_hash(scope: Scope, key: str) -> int:
    """The hash of a key's text, spelt as ingest spells it."""
    return hash_text((canonical_ip(key) or key) if scope is Scope.IP else key, REPLAY_SEED)


def carrying(events: Events, attack: Attack) -> Bools:
    """Which events carry one of an attack's keys, at its time."""
    found = np.zeros(len(events), np.bool_)
    for scope in KEYED:
        wanted = [key_hash(s, key) for s, key in spelt(attack.keys) if s is scope]
        if wanted:
            found |= np.isin(events.keys[scope], np.array(wanted, np.uint64))
    inside: Bools = found & (events.ts >= attack.start) & (events.ts <= attack.end)
    return inside


def scores(events: Events, findings: Sequence[Finding]) -> Floats:
    """What was known of each event when it came: the largest nats said of one of its keys in the last 10 minutes.

    An event's own finding counts; what was said later does not, though it may tell of an excursion that began before.
    What is said of an endpoint, a project or everything does not count: it tells that something goes on, not which
    event. Cost: n log n in events, and the events of its key for each finding.
    """
    out = np.zeros(len(events))
    by_scope: dict[Scope, list[Finding]] = {}
    for finding in findings:
        if finding.scope not in COARSE:
            by_scope.setdefault(finding.scope, []).append(finding)
    for scope, some in by_scope.items():
        keys = events.keys[scope]
        order = np.lexsort((events.ts, keys))
        sorted_keys, sorted_ts = keys[order], events.ts[order]
        hashes: dict[str, int] = {}
        for finding in some:
            if finding.key not in hashes:
                hashes[finding.key] = key_hash(scope, finding.key)
            wanted = np.uint64(hashes[finding.key])
            low, high = np.searchsorted(sorted_keys, wanted, "left"), np.searchsorted(sorted_keys, wanted, "right")
            times = sorted_ts[low:high]
            first, last = low + np.searchsorted(times, [finding.ts, finding.ts + HOLDS_S], "left")
            where = order[first : max(last, first + 1)]
            out[where] = np.maximum(out[where], finding.nats)
    return out


def _attacks(events: Events, truth: Truth) -> npt.NDArray[np.int32]:
    attack = np.full(len(events), BENIGN, np.int32)
    if truth.request_ids:
        texts = list(truth.request_ids)
        hashes = np.array([hash_text(text, REPLAY_SEED) for text in texts], np.uint64)
        index = np.array([truth.request_ids[text] for text in texts], np.int32)
        order = np.argsort(hashes)
        at = np.searchsorted(hashes[order], events.request_id)
        at = np.minimum(at, len(hashes) - 1)
        same = hashes[order][at] == events.request_id
        attack[same] = index[order][at[same]]
    labelled = set(truth.request_ids.values())
    for number, one in enumerate(truth.attacks):
        if number not in labelled:
            attack[carrying(events, one) & (attack == BENIGN)] = number
    return attack
