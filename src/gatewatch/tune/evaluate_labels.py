"""What was an attack: read from a labels file.

Either what ``gatewatch simulate --labels`` writes (``episode`` records with all keys of an attack, ``label`` records
with the ``request_id`` of each hostile event), or one line a key and stretch of time, which a person can write::

    {"attack": "incident-17", "kind": "stuffing", "scope": "ip", "key": "203.0.113.9", "start": 1.7e9, "end": 1.7e9}

Lines with the same ``attack`` are one attack. Without ``kind`` the attack's name is its kind. Times are epoch seconds
or ISO 8601.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import ip_network
from pathlib import Path

import msgspec

from gatewatch.errors import ConfigError
from gatewatch.records import Scope
from gatewatch.simulate.labels import Episode, Header, Label

Key = tuple[Scope, str]


@dataclass(slots=True)
class Attack:
    """One attack: its keys, and from when to when."""

    name: str
    kind: str
    start: float
    end: float
    keys: set[Key] = field(default_factory=set)


@dataclass(slots=True)
class Truth:
    """Everything that a labels file says.

    Attributes:
        attacks: in the order of the file.
        request_ids: hostile events by id, with the index of their attack; empty where the file names keys only. Then
            every event that carries a key of an attack, at its time, is hostile.
    """

    attacks: list[Attack] = field(default_factory=list)
    request_ids: dict[str, int] = field(default_factory=dict)


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A labelled key and stretch of time, as a person writes it."""

    attack: str
    scope: Scope
    key: str
    start: float | datetime
    end: float | datetime
    kind: str | None = None


class _Tag(msgspec.Struct):
    record: str | None = None


_TAG = msgspec.json.Decoder(_Tag)
_LINE = msgspec.json.Decoder(Line)
_RECORD = msgspec.json.Decoder(Header | Episode | Label)


def read(path: Path) -> Truth:
    """Read a labels file of either form; forms may be mixed.

    Raises:
        ConfigError: it cannot be read, or a line is not a label; names the line.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}") from error
    truth = Truth()
    by_name: dict[str, Attack] = {}
    by_episode: dict[int, int] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            if _TAG.decode(line).record is None:
                _add_line(truth, by_name, _LINE.decode(line))
            else:
                _add_record(truth, by_episode, _RECORD.decode(line))
        except (msgspec.DecodeError, ValueError) as error:
            raise ConfigError(f"{path}: line {number}", f"is not a label: {error}") from error
    if not truth.attacks:
        raise ConfigError(str(path), "names no attack: it would be no evaluation, `gatewatch replay` counts alerts")
    return truth


def spelt(keys: Iterable[Key]) -> set[Key]:
    """Keys as findings may write them: an IPv6 address may stand for its /64, which one household has."""
    out = set(keys)
    for scope, key in keys:
        if scope is Scope.IP and ":" in key:
            out.add((scope, str(ip_network(f"{key}/64", strict=False))))
    return out


def _add_line(truth: Truth, by_name: dict[str, Attack], line: Line) -> None:
    start, end = _seconds(line.start), _seconds(line.end)
    if end < start:
        raise ValueError(f"it ends before it starts ({line.attack})")
    found = by_name.get(line.attack)
    if found is None:
        found = by_name[line.attack] = Attack(line.attack, line.kind or line.attack, start, end)
        truth.attacks.append(found)
    found.start, found.end = min(found.start, start), max(found.end, end)
    found.keys.add((line.scope, line.key))


def _add_record(truth: Truth, by_episode: dict[int, int], record: Header | Episode | Label) -> None:
    if isinstance(record, Episode):
        by_episode[record.episode] = len(truth.attacks)
        keys = {(scope, key) for scope, found in record.keys.items() for key in found}
        name = f"{record.attack}-{record.episode}"
        truth.attacks.append(Attack(name, record.attack, record.first_ts, record.last_ts, keys))
    elif isinstance(record, Label):
        if record.episode not in by_episode:
            raise ValueError(f"no episode {record.episode} before it")
        truth.request_ids[record.request_id] = by_episode[record.episode]


def _seconds(value: float | datetime) -> float:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("a time without a zone: write Z or +02:00 behind it")
        return value.timestamp()
    return value
