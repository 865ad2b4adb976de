"""An iterator that runs ahead of its reader, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable
from contextlib import suppress
from queue import Full, Queue
from typing import TypeVar

T = TypeVar("T")
_LOOK_S = 0.1  # how often a thread that finds no room for its item looks whether anybody still reads
_GOODBYE_S = 1.0  # for the item in the making; who reads stdin may wait for ever


def ahead(items: Iterable[T]) -> Generator[T, None, None]:
    """The same items, while the next ones are being made: one waits, and one is in the making.

    What making them raises is raised where they are read, after those before it. A reader that stops early, and
    closes this, ends the thread.
    """
    ready: Queue[list[T] | BaseException | None] = Queue(1)
    stopped = threading.Event()
    thread = threading.Thread(target=_make, args=(items, ready, stopped), name="ahead", daemon=True)
    thread.start()
    try:
        while (made := ready.get()) is not None:
            if isinstance(made, BaseException):
                raise made
            yield from made
    finally:
        stopped.set()
        thread.join(_GOODBYE_S)


def _make(items: Iterable[T], ready: Queue[list[T] | BaseException | None], stopped: threading.Event) -> None:
    try:
        for item in items:
            _put([item], ready, stopped)
            if stopped.is_set():
                return
    except BaseException as error:  # noqa: BLE001 - raised again where the items are read
        _put(error, ready, stopped)
    else:
        _put(None, ready, stopped)


def _put(
    made: list[T] | BaseException | None, ready: Queue[list[T] | BaseException | None], stopped: threading.Event
) -> None:
    """Hand on what was made, as soon as there is room, unless nobody reads any more."""
    while not stopped.is_set():
        with suppress(Full):
            ready.put(made, timeout=_LOOK_S)
            return
