"""What a snapshot of decide holds, and how a new decider goes on from it.

The state stands for one offset of `findings`. People's words come by two more topics, and each takes effect at an
offset of `findings`; so a snapshot also says how far those topics were read, and is only made when everything that was
heard has taken effect.

Settings and catalog are not part of it. What was decided under older ones stands as it is (an order until its end, an
episode as it was told); what comes is judged by those of today.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt
import structlog

from gatewatch.decide.decider import Decider
from gatewatch.decide.state import SHAPE, VERSION
from gatewatch.errors import StateError
from gatewatch.log.base import TopicPartition
from gatewatch.state.packing import Arrays
from gatewatch.state.savable import Kind
from gatewatch.state.shapes import Copying, Parts, decode, encode

TASK = "decide"
_log = structlog.get_logger("gatewatch.decide")


class Heard(msgspec.Struct, frozen=True, array_like=True):
    """How far a topic that people write was read."""

    topic_id: str  # one that was made again is read from its beginning
    next_offset: int


class Book(msgspec.Struct, frozen=True, kw_only=True):
    """What is not state."""

    config_hash: str  # of the settings then, for people
    catalog_hash: str
    heard: dict[str, Heard]  # by topic


@dataclass(frozen=True, slots=True)
class Memory:
    """All that decide knew at one offset."""

    book: Book
    state: Parts | Copying

    @property
    def parts(self) -> Parts:
        """All that it knows, once :meth:`go_on` says so."""
        return self.state.parts() if isinstance(self.state, Copying) else self.state

    def go_on(self, seconds: float) -> bool:
        """Copy some more of the state."""
        return self.state.go_on(seconds) if isinstance(self.state, Copying) else True

    def drop(self) -> None:
        """It is not wanted any more."""
        if isinstance(self.state, Copying):
            self.state.drop()

    @property
    def versions(self) -> dict[str, int]:
        """Of the only part."""
        return {TASK: VERSION}

    @property
    def arrays(self) -> dict[str, npt.NDArray[np.uint8]]:
        """The state as bytes. Cost: some 10 us an open episode, for a thread."""
        return encode(self.parts)

    def document(self) -> bytes:
        """The book as bytes."""
        return msgspec.msgpack.encode(self.book)

    @classmethod
    def read(cls, document: bytes, arrays: Arrays) -> Memory:
        """From what a snapshot holds.

        Raises:
            StateError: it is none of this version.
        """
        try:
            book = msgspec.msgpack.decode(document, type=Book)
        except msgspec.DecodeError as error:
            raise StateError(f"a snapshot's document cannot be read: {error}") from error
        return cls(book, decode(arrays))

    def readable(self) -> bytes:
        """Everything as JSON, for people and notebooks."""
        return msgspec.json.format(msgspec.json.encode({"book": self.book, "state": self.parts}), indent=1)


KIND = Kind(lambda _tp: TASK, Memory.read, f"{VERSION}-{SHAPE.digest}")


class DecideTask:
    """A decider that can be saved.

    Args:
        new: makes a decider that knows nothing.
        heard: how far each topic that people write is read; kept up by the worker.
        ids: of these topics.
    """

    def __init__(self, new: Callable[[], Decider], heard: Mapping[TopicPartition, int], ids: Mapping[str, str]) -> None:
        self._new, self._heard, self._ids = new, heard, ids
        self.decider = new()
        self.knows_until = -1  # what took effect before this offset of `findings` is in the decider
        self.knows_people: dict[str, int] = {}  # and so is what people wrote before these offsets, by topic

    def memory(self) -> Memory | None:
        """A copy of all that it knows, begun; ``None`` while something that was heard has not taken effect."""
        if self.decider.is_waiting_to_act:
            return None
        heard = {tp.topic: Heard(self._ids[tp.topic], offset) for tp, offset in self._heard.items()}
        config, catalog = self.decider.hashes
        return Memory(Book(config_hash=config, catalog_hash=catalog, heard=heard), self.decider.begin_copy())

    def become(self, memory: Memory, offset: int, beginning: int) -> int:
        """Go on with what :meth:`memory` gave when all findings before ``offset`` had been applied.

        Where retention has taken more than that (``beginning`` is later), what was in between is never decided on.

        Raises:
            StateError: it is not of this version; nothing has changed then.
        """
        decider = self._new()
        decider.become(memory.parts)
        self.decider, self.knows_until = decider, offset
        self.knows_people = {
            topic: heard.next_offset
            for topic, heard in memory.book.heard.items()
            if heard.topic_id == self._ids.get(topic)
        }
        if (memory.book.config_hash, memory.book.catalog_hash) != decider.hashes:
            _log.info("settings or catalog have changed: they hold from here on, what was decided stands")
        return max(offset, beginning)
