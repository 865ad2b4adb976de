"""Snapshots of tasks in the compacted topic ``<prefix>.state``.

A snapshot stands for one offset of the log that its task reads: everything before it is in. Its chunks are written
first, under keys ``<task>/<id>/<number>``; then its manifest under ``<task>/manifest``, which makes it the one that
counts; then tombstones for the chunks of older ones. So whenever a writer dies, the newest manifest names a whole
snapshot, and what has no manifest is rubbish that the next writer removes. Ids are drawn anew for each snapshot: a
writer that was thought dead cannot mix its chunks with those of its successor.

A task's records are in the partition of its number. A reader does not read the topic whole (it holds an hour of
outdated snapshots): it looks backwards from the end for the manifest, which says where its chunks begin.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from gatewatch.errors import StateError
from gatewatch.log.base import Log, Producer, TopicPartition
from gatewatch.state.packing import Arrays, digest, pack, unpack

FORMAT = 1
_MANIFEST = b"/manifest"  # the end of its key
FLUSH_S = 60.0  # as long as a broker may take to restart (docs/delivery.md)
_TAIL_RECORDS = 64  # looked at first from the end: tombstones of one snapshot, its manifest, some chunks
_WIDER = 8  # each further look is so much longer


class Older(msgspec.Struct, frozen=True, array_like=True):
    """A snapshot that a newer one replaces: its chunks get tombstones."""

    id: str
    chunks: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What makes some chunks a snapshot; JSON in the topic."""

    format: int = FORMAT
    task: str  # "detect-3"
    id: str
    offset: int  # of the log that the task reads: everything before it is in
    log_id: str  # topic id of that log: one that was made again begins at offset 0
    layout: str  # partitions and hash-seed id
    schema: str  # of routed batches
    versions: dict[str, int]  # of each detector in it
    digests: tuple[str, ...]  # of each chunk
    first: int  # offset in the state topic of the first chunk
    raw_bytes: int
    stored_bytes: int
    written: float  # wall time, for people
    older: tuple[Older, ...] = ()  # their tombstones follow


@dataclass(slots=True)
class Draft:
    """Chunks of a new snapshot, which await their manifest."""

    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    digests: list[str] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)  # of those that are acknowledged
    raw_bytes: int = 0
    stored_bytes: int = 0

    @property
    def older(self) -> Older:
        """As what it is once something newer replaces it."""
        return Older(self.id, len(self.digests))


@dataclass(slots=True)
class Found:
    """What is in a partition of the state topic for one task."""

    manifest: Manifest | None = None
    rubbish: list[Older] = field(default_factory=list)  # chunks written after it without a manifest of their own


def write_chunks(
    producer: Producer, tp: TopicPartition, task: str, document: bytes, arrays: Arrays, draft: Draft
) -> None:
    """Write the chunks of a new snapshot and wait until they are acknowledged; ``draft`` learns what was written.

    Cost: see :func:`gatewatch.state.packing.pack`.

    Raises:
        SendError: they were not; what was written is rubbish.
    """

    def emit(chunk: bytes) -> None:
        key = chunk_key(task, draft.id, len(draft.digests))
        draft.digests.append(digest(chunk))
        draft.stored_bytes += len(chunk)
        producer.send(tp.topic, chunk, partition=tp.partition, key=key, on_ack=draft.offsets.append)

    draft.raw_bytes = pack(document, arrays, emit)
    producer.flush(FLUSH_S)


def write_manifest(producer: Producer, tp: TopicPartition, manifest: Manifest) -> None:
    """Make a draft count, then remove what it replaces. Call it once all outputs of earlier offsets are acknowledged.

    Raises:
        SendError: it was not acknowledged; it may count all the same, and is whole.
    """
    key, value = manifest_key(manifest.task), msgspec.json.encode(manifest)
    producer.send(tp.topic, value, partition=tp.partition, key=key)
    producer.flush(FLUSH_S)
    remove(producer, tp, manifest.task, manifest.older)


def remove(producer: Producer, tp: TopicPartition, task: str, older: Sequence[Older]) -> None:
    """Write tombstones for the chunks of snapshots.

    Raises:
        SendError: they were not acknowledged.
    """
    for one in older:
        for number in range(one.chunks):
            producer.send(tp.topic, None, partition=tp.partition, key=chunk_key(task, one.id, number))
    producer.flush(FLUSH_S)


def find(log: Log, tp: TopicPartition, task: str, end: int) -> Found:
    """The newest manifest of a task in ``tp``, whose end is ``end``.

    Raises:
        StateError: it cannot be read.
        LogError: the log cannot be read.
    """
    back = _TAIL_RECORDS
    while True:
        start = max(end - back, 0)
        found = _look(log, tp, task, start)
        if found.manifest is not None or start == 0:
            return found
        back *= _WIDER


def read(log: Log, tp: TopicPartition, manifest: Manifest) -> tuple[bytes, Arrays]:
    """The document and the arrays of a snapshot.

    Raises:
        StateError: a chunk is missing or damaged.
        LogError: the log cannot be read.
    """
    chunks = read_chunks(log, tp, manifest)
    missing = [n for n, chunk in enumerate(chunks) if chunk is None]
    if missing:
        raise StateError(
            f"{tp.topic}-{tp.partition}: snapshot {manifest.id} of {manifest.task} lacks chunk {missing[0]}"
        )
    whole = [chunk for chunk in chunks if chunk is not None]
    for number, (chunk, expected) in enumerate(zip(whole, manifest.digests, strict=True)):
        if digest(chunk) != expected:
            raise StateError(
                f"{tp.topic}-{tp.partition}: snapshot {manifest.id} of {manifest.task}: chunk {number} is damaged"
            )
    return unpack(whole)


def read_chunks(log: Log, tp: TopicPartition, manifest: Manifest) -> list[bytes | None]:
    """Every chunk of a snapshot as it is in the log, ``None`` for those that are not there (any more)."""
    wanted = {chunk_key(manifest.task, manifest.id, n): n for n in range(len(manifest.digests))}
    chunks: list[bytes | None] = [None] * len(wanted)
    for _offset, key, value in _records(log, tp, manifest.first):
        if key in wanted:
            chunks[wanted[key]] = value
    return chunks


def newest(log: Log, topic: str) -> Iterator[tuple[TopicPartition, str, Manifest | StateError]]:
    """The newest manifest of each task, or why it cannot be read, from the whole topic: for commands.

    Raises:
        LogError: the log cannot be read.
    """
    found: dict[tuple[int, bytes], bytes] = {}
    for chunk in log.read(topic):
        for key, value in zip(chunk.keys, chunk.values, strict=True):
            if key is not None and value is not None and key.endswith(_MANIFEST):
                found[chunk.tp.partition, key] = value
    for (partition, key), value in sorted(found.items()):
        tp = TopicPartition(topic, partition)
        task = key.removesuffix(_MANIFEST).decode(errors="replace")
        try:
            yield tp, task, _decode(value, tp)
        except StateError as error:
            yield tp, task, error


def manifests(log: Log, topic: str) -> Iterator[tuple[int, Manifest]]:
    """The newest manifest of each task, with its partition.

    Raises:
        StateError: one cannot be read.
        LogError: the log cannot be read.
    """
    for tp, _task, manifest in newest(log, topic):
        if isinstance(manifest, StateError):
            raise manifest
        yield tp.partition, manifest


def manifest_key(task: str) -> bytes:
    """Key of a task's manifest."""
    return task.encode() + _MANIFEST


def chunk_key(task: str, id_: str, number: int) -> bytes:
    """Key of one chunk."""
    return f"{task}/{id_}/{number:05d}".encode()


def _look(log: Log, tp: TopicPartition, task: str, start: int) -> Found:
    """The newest manifest from ``start`` on, and what stands there after it and is none's."""
    manifest: bytes | None = None
    chunks: dict[str, set[int]] = {}
    prefix = f"{task}/".encode()
    for _offset, key, value in _records(log, tp, start):
        if key == manifest_key(task):
            manifest = value
            chunks.clear()
        elif key is not None and key.startswith(prefix):
            id_, number = key.decode().rsplit("/", 2)[1:]
            if value is not None:
                chunks.setdefault(id_, set()).add(int(number))
            elif id_ in chunks:
                chunks[id_].discard(int(number))
    rubbish = [Older(id_, max(numbers) + 1) for id_, numbers in chunks.items() if numbers]
    return Found(None if manifest is None else _decode(manifest, tp), rubbish)


def _records(log: Log, tp: TopicPartition, start: int) -> Iterator[tuple[int, bytes | None, bytes | None]]:
    for chunk in log.read(tp.topic, start={tp.partition: start}, partitions=[tp.partition]):
        yield from zip(chunk.offsets, chunk.keys, chunk.values, strict=True)


def _decode(value: bytes, tp: TopicPartition) -> Manifest:
    try:
        manifest = msgspec.json.decode(value, type=Manifest)
    except msgspec.DecodeError as error:
        raise StateError(f"{tp.topic}-{tp.partition}: a manifest cannot be read: {error}") from error
    if manifest.format != FORMAT:
        raise StateError(
            f"{tp.topic}-{tp.partition}: the snapshot of {manifest.task} has format {manifest.format}, "
            f"this version reads {FORMAT}"
        )
    return manifest
