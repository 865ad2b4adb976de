"""What can be saved: tasks, their memory, and what the loop must know of them. ``saving.py`` does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from gatewatch.log.base import TopicPartition
from gatewatch.state.packing import Arrays


class Memory(Protocol):
    """Copies of all that a task knows. The loop makes it; what it has to tell is asked for on a thread."""

    def go_on(self, seconds: float) -> bool:
        """Copy for about so long what is not copied yet; whether everything is."""
        ...

    def drop(self) -> None:
        """It is not wanted any more, and perhaps not whole."""
        ...

    @property
    def versions(self) -> dict[str, int]:
        """Of each part of it, for people."""
        ...

    @property
    def arrays(self) -> Arrays:
        """The bulk."""
        ...

    def document(self) -> bytes:
        """The rest."""
        ...


M = TypeVar("M", bound=Memory)


class Task(Protocol[M]):
    """What can be saved."""

    def memory(self) -> M | None:
        """Copies of all that it knows; ``None`` where that is not possible now, but soon."""
        ...

    def become(self, memory: M, offset: int, beginning: int) -> int:
        """Take such copies over; the offset to read from. A StateError leaves the task as it was."""
        ...


class Saved(Protocol[M]):
    """What a partition that is ours must tell."""

    @property
    def task(self) -> Task[M]:
        """The task."""
        ...

    @property
    def next_offset(self) -> int:
        """Of the next record to apply."""
        ...

    def safe(self) -> int:
        """Every record before this offset is done and said."""
        ...


@dataclass(frozen=True, slots=True)
class Kind(Generic[M]):
    """What tasks of one kind are called, and how their memory is read.

    A task's records are in the partition of the state topic that has the number of the one it reads.
    """

    name: Callable[[TopicPartition], str]  # of the task that reads it, in keys: "detect-3"
    read: Callable[[bytes, Arrays], M]  # from what a snapshot holds; may raise a StateError
    schema: str  # what is written under another one is refused
