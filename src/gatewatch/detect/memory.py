"""All that a task knows, as one document and arrays: what a snapshot of it holds, and what it is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy.typing as npt

from gatewatch.detect import blocks
from gatewatch.errors import StateError
from gatewatch.events.batch import VERSION
from gatewatch.log.base import TopicPartition
from gatewatch.sdk import Lane
from gatewatch.settings import Settings
from gatewatch.state.savable import Kind


class Book(msgspec.Struct, frozen=True, kw_only=True):
    """What is not in arrays. MessagePack, because an event time may be -inf.

    ``applied`` lists (topic id, partition, next source offset), ``unsure`` those of them that may begin later (see
    :class:`~gatewatch.detect.applied.Applied`); ``streams`` are the watermarks of each source partition
    and ``now`` their common one; ``told`` is the last one that was told to decide. ``released`` is the place of the
    last :class:`~gatewatch.records.Release`.
    """

    applied: tuple[tuple[str, int, int], ...]
    unsure: tuple[tuple[str, int], ...] = ()
    streams: dict[str, float]
    now: float
    told: float
    versions: dict[str, int]  # of each detector whose arrays are here
    raised: dict[str, int]  # how often each of them has raised
    orders: blocks.Book = ()  # what is blocked, and what traffic has shown of each order
    gone: blocks.Gone = ()  # orders taken back
    released: tuple[int, int] = (-1, 0)


@dataclass(frozen=True, slots=True)
class Memory:
    """A task's memory at one offset. ``arrays`` are named ``<detector>/<array>``."""

    book: Book
    arrays: Mapping[str, npt.NDArray[Any]]

    @property
    def versions(self) -> dict[str, int]:
        """Of each detector."""
        return self.book.versions

    @property
    def nbytes(self) -> int:
        """Of all arrays."""
        return sum(array.nbytes for array in self.arrays.values())

    def go_on(self, seconds: float) -> bool:
        """It is copied at once: some 15 ms for 100 MB."""
        del seconds
        return True

    def drop(self) -> None:
        """Nothing hangs on it."""

    def document(self) -> bytes:
        """The book as bytes."""
        return msgspec.msgpack.encode(self.book)

    @classmethod
    def read(cls, document: bytes, arrays: Mapping[str, npt.NDArray[Any]]) -> Memory:
        """From what a snapshot holds.

        Raises:
            StateError: the document is not a book of this version.
        """
        try:
            return cls(msgspec.msgpack.decode(document, type=Book), arrays)
        except msgspec.DecodeError as error:
            raise StateError(f"a snapshot's document cannot be read: {error}") from error

    def of(self, detector: str) -> dict[str, npt.NDArray[Any]]:
        """One detector's arrays, under its own names."""
        prefix = f"{detector}/"
        return {name.removeprefix(prefix): a for name, a in self.arrays.items() if name.startswith(prefix)}


def kind(settings: Settings, lane: Lane | None = None) -> Kind[Memory]:
    """Tasks of detect; each lane has snapshots of its own, and populations have theirs."""
    prefix, rollups = "detect-slow" if lane == "slow" else "detect", settings.kafka.topic("rollups")

    def name(tp: TopicPartition) -> str:
        return "population" if tp.topic == rollups else f"{prefix}-{tp.partition}"

    return Kind(name, Memory.read, VERSION.decode())


def named(detector: str, arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """A detector's arrays under names that say whose they are.

    >>> import numpy as np
    >>> list(named("rate_spike", {"ip/keys": np.zeros(1)}))
    ['rate_spike/ip/keys']
    """
    return {f"{detector}/{name}": array for name, array in arrays.items()}
