"""A record of `routed`, checked before anything of it is applied: a task knows all of a record, or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import msgspec
import pyarrow as pa

from gatewatch.errors import UnreadableError
from gatewatch.events.batch import ROUTED, Batch, decode
from gatewatch.events.formats.base import LATEST_S
from gatewatch.log.base import Headers
from gatewatch.records import H_KIND, H_LAYOUT, H_RANGES, H_SCHEMA, Control, Release, Seal, SourceRange, layout_of
from gatewatch.settings import KafkaSettings
from gatewatch.state.hashing import HashSeed
from gatewatch.state.jit import kernel
from gatewatch.state.rows import rows_of

_CONTROL = msgspec.msgpack.Decoder(Control)
_RELEASE = msgspec.msgpack.Decoder(Release)
_RANGES = msgspec.msgpack.Decoder(list[SourceRange])
_ALWAYS = ("src", "offset", "index", "role", "flags", "ts")  # without them no row has a place or a time
_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Ours:
    """What tells a record of our own installation; that we are of it was checked when the worker started.

    Attributes:
        layout: partitions and hash seed, as in the header.
        seal: of the topic.
        partition: of the topic.
    """

    layout: bytes
    seal: Seal
    partition: int

    @classmethod
    def of(cls, kafka: KafkaSettings, seed: HashSeed, name: str, partition: int) -> Self:
        """For a partition of our topic ``name``."""
        return cls(layout_of(kafka.partitions, seed), Seal(seed, kafka.topic(name)), partition)

    def headers(self, value: bytes, schema: bytes) -> Headers:
        """As of a record that we write there."""
        return self.seal.sealed(self.partition, value, ((H_SCHEMA, schema), (H_LAYOUT, self.layout)))

    def check(self, place: str, value: bytes | None, head: Mapping[str, bytes]) -> None:
        """Let only through what one of our own workers wrote, as it wrote it.

        Raises:
            UnreadableError: it was written under another hash seed or number of partitions, by somebody else, or it
                was damaged.
        """
        if head.get(H_LAYOUT) != self.layout:
            raise UnreadableError(
                f"{place} was written under layout {head.get(H_LAYOUT, b'?').decode(errors='replace')} "
                f"(partitions:seed), this worker has {self.layout.decode()}: "
                "all workers of one installation need the same kafka.partitions and hash seed"
            )
        if not self.wrote(head):
            raise UnreadableError(f"{place} does not carry the seal of this installation")
        if not self.seal.fits(value, head):
            raise UnreadableError(f"{place} holds another value than the one that was sealed")

    def wrote(self, head: Mapping[str, bytes]) -> bool:
        """Whether the headers are of one of our own workers."""
        return head.get(H_LAYOUT) == self.layout and self.seal.vouches(self.partition, head)


Read = tuple[list[SourceRange], Batch | None, Control | Release | None]


def read(value: bytes | None, head: Mapping[str, bytes]) -> Read:
    """Ranges, and the rows of one record or what decide says in it; a tick has neither.

    Raises:
        StateError: it was written by another version.
        UnreadableError: by none, or it was damaged.
    """
    ranges = ranges_of(head)
    kind = head.get(H_KIND)
    try:
        if kind == b"control" and value is not None:
            return ranges, None, _CONTROL.decode(value)
        if kind == b"release" and value is not None:
            return ranges, None, _RELEASE.decode(value)
        if kind != b"batch" or value is None:
            return ranges, None, None
    except _ERRORS as error:
        raise UnreadableError(f"not a record that this version writes ({type(error).__name__})") from error
    batch = decode(value, head.get(H_SCHEMA, b""))
    if not all(batch.has(name) for name in _ALWAYS):
        raise UnreadableError("a batch without the columns that every batch has")
    if not make_sense(rows_of(batch), len(ranges)):
        raise UnreadableError("a batch with rows of no source, or of a time that ingest lets nothing have")
    return ranges, batch, None


@kernel
def make_sense(rows: Any, sources: int) -> bool:
    """Whether all rows are of a known source, and of a time that formats let pass: kernels loop over days and hours."""
    for i in range(rows.shape[0]):  # noqa: SIM110 - a kernel: Numba has no generators to give to all()
        if not (0.0 <= rows[i].ts <= LATEST_S) or rows[i].src >= sources:
            return False
    return True


def warm_up() -> None:
    """Compile the kernels, by running them on nothing."""
    make_sense(rows_of(Batch(pa.RecordBatch.from_pylist([], schema=ROUTED))), 0)


def ranges_of(head: Mapping[str, bytes]) -> list[SourceRange]:
    """What a record stands for.

    Raises:
        UnreadableError: it does not say.
    """
    try:
        ranges = _RANGES.decode(head.get(H_RANGES, b""))
    except _ERRORS as error:
        raise UnreadableError(f"ranges that cannot be read ({type(error).__name__})") from error
    if not all(r.watermark <= LATEST_S for r in ranges):  # false for NaN, too; -inf says nothing
        raise UnreadableError("ranges of a time that ingest lets nothing have")
    return ranges
