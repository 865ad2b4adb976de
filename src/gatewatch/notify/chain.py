"""A chain of hashes over the records of `actions`: nobody can change, remove or move one without it being found.

Each record ends with its own SHA-256 and holds that of the record before it, so it vouches for all before it. A
writer (one life of the notify role) has a chain of its own, numbered from 0; its first record names the last one of
its predecessor. So two writers that overlap for a moment, after a lost lease, break nothing.

What a chain cannot show: that its newest records were cut off, or that everything was written anew by somebody who
could write the topic. For that keep the head that ``gatewatch audit verify`` prints, and give it to a later run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

NOTHING = "0" * 64  # what the very first record holds as the hash before it
_END = b',"hash":"'
_TAIL = len(_END) + 64 + 2  # the hash, a quote and a brace


@dataclass(frozen=True, slots=True)
class Link:
    """Where a chain stands: its last record."""

    writer: str
    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.writer}:{self.seq}:{self.hash}"


class _Sealed(msgspec.Struct, frozen=True):
    """What of a record the chain reads."""

    writer: str
    seq: int
    prev: str
    hash: str
    after: str = ""


Chain = list[tuple[int, _Sealed]]  # of one writer: offsets and records, as they stand in the topic


class Fault(StrEnum):
    """What can be wrong with a record; a closed set."""

    CHANGED = "changed"
    MISSING = "missing"
    REORDERED = "reordered"
    REPEATED = "repeated"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, and where."""

    fault: Fault
    offset: int  # of the record itself, or of the one after a gap
    writer: str
    seq: int
    text: str


@dataclass(slots=True)
class Report:
    """What a verification found."""

    records: int = 0
    unchained: int = 0  # written by others (refusals of guards), or by an older version
    writers: int = 0
    heads: dict[str, Link] = field(default_factory=dict)
    head: Link | None = None
    problems: list[Problem] = field(default_factory=list)


def seal(record: Mapping[str, object], writer: str, before: Link | None) -> tuple[bytes, Link]:
    """A record as it is written, and where the chain stands then.

    Args:
        record: its fields; ``writer``, ``seq``, ``prev``, ``after`` and ``hash`` are added.
        writer: who writes.
        before: the last record that is there, of this writer or of another.
    """
    same = before is not None and before.writer == writer
    seq = before.seq + 1 if before is not None and same else 0
    prev = before.hash if before is not None else NOTHING
    sealed = {**record, "writer": writer, "seq": seq, "prev": prev}
    if before is not None and not same:
        sealed["after"] = str(before)
    body = msgspec.json.encode(sealed)[:-1]
    digest = hashlib.sha256(body).hexdigest()
    return body + _END + digest.encode() + b'"}', Link(writer, seq, digest)


def link_of(value: bytes) -> Link | None:
    """Where the chain stands at a record, or ``None`` where it is in none."""
    sealed = _sealed(value)
    return None if sealed is None else Link(sealed.writer, sealed.seq, sealed.hash)


def verify(records: Iterable[tuple[int, bytes]]) -> Report:
    """Check every record of the topic, in the order of their offsets. Cost: one SHA-256 a record."""
    report, begin = Report(), -1
    chains: dict[str, Chain] = {}
    for offset, value in records:
        begin = offset if begin < 0 else begin
        sealed = _sealed(value)
        if sealed is None:
            report.unchained += 1
            continue
        report.records += 1
        if hashlib.sha256(value[:-_TAIL]).hexdigest() != sealed.hash:
            report.problems.append(_problem(Fault.CHANGED, offset, sealed, "its content does not fit its hash"))
        chains.setdefault(sealed.writer, []).append((offset, sealed))
        report.head = Link(sealed.writer, sealed.seq, sealed.hash)
    report.writers = len(chains)
    for n, chain in enumerate(chains.values()):
        _check_order(chain, report)
        # Retention removes the beginning of the topic, so only the chain that the topic begins with may lack its own
        _check_links(chain, report, whole=n > 0 or begin <= 0)
    _check_starts(chains, report, whole=begin <= 0)
    report.problems.sort(key=lambda p: (p.offset, p.seq))
    return report


def _check_order(chain: Chain, report: Report) -> None:
    """Numbers must rise with offsets, each once."""
    highest, seen = -1, set[int]()
    for offset, sealed in chain:
        if sealed.seq in seen:
            report.problems.append(_problem(Fault.REPEATED, offset, sealed, "it stands there twice"))
        elif sealed.seq < highest:
            report.problems.append(_problem(Fault.REORDERED, offset, sealed, f"it stands after number {highest}"))
        highest = max(highest, sealed.seq)
        seen.add(sealed.seq)


def _check_links(chain: Chain, report: Report, *, whole: bool) -> None:
    """Each record must be the one that the next one saw."""
    by_seq = dict(sorted({sealed.seq: (offset, sealed) for offset, sealed in chain}.items()))
    before: tuple[int, _Sealed] | None = None
    for offset, sealed in by_seq.values():
        expected = 0 if before is None else before[1].seq + 1
        if sealed.seq > expected and (before is not None or whole):
            gap = f"number {expected}" if sealed.seq == expected + 1 else f"numbers {expected} to {sealed.seq - 1}"
            report.problems.append(Problem(Fault.MISSING, offset, sealed.writer, expected, f"{gap} before it"))
        elif before is not None and sealed.seq == expected and sealed.prev != before[1].hash:
            report.problems.append(_problem(Fault.CHANGED, before[0], before[1], "its successor saw another one"))
        before = (offset, sealed)
    if before is not None:
        report.heads[before[1].writer] = Link(before[1].writer, before[1].seq, before[1].hash)


def _check_starts(chains: Mapping[str, Chain], report: Report, *, whole: bool) -> None:
    """The last record that a writer saw of its predecessor must still be there."""
    known = {(s.writer, s.seq): (offset, s.hash) for chain in chains.values() for offset, s in chain}
    for chain in chains.values():
        for offset, sealed in chain:
            if not sealed.after:
                continue
            writer, seq, digest = sealed.after.rsplit(":", 2)
            found = known.get((writer, int(seq)))
            if found is None and (whole or writer in chains):
                text = f"number {seq} of writer {writer}, which this one saw"
                report.problems.append(Problem(Fault.MISSING, offset, writer, int(seq), text))
            elif found is not None and found[1] != digest:
                text = "the next writer saw another one"
                report.problems.append(Problem(Fault.CHANGED, found[0], writer, int(seq), text))


def _sealed(value: bytes) -> _Sealed | None:
    try:
        return msgspec.json.decode(value, type=_Sealed)
    except msgspec.DecodeError:
        return None


def _problem(fault: Fault, offset: int, sealed: _Sealed, text: str) -> Problem:
    return Problem(fault, offset, sealed.writer, sealed.seq, text)
