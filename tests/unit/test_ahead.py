"""What runs ahead gives the same items, the same errors, and ends with its reader."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from gatewatch.ahead import ahead


def test_the_same_items_come_in_order() -> None:
    """If this fails, a replay skips or swaps events."""
    assert list(ahead(range(100))) == list(range(100))


def test_none_is_an_item_too() -> None:
    """If this fails, an item that looks like an end cuts the rest off, and nobody is told."""
    assert list(ahead([None, 1, None])) == [None, 1, None]


def test_an_error_comes_after_what_was_before_it() -> None:
    """If this fails, a damaged file loses the events before the damage, or passes for a whole one."""

    def items() -> Iterator[int]:
        yield 1
        raise OSError("broken")

    found: list[int] = []
    with pytest.raises(OSError, match="broken"):
        found.extend(ahead(items()))
    assert found == [1]


def test_the_next_item_is_made_while_this_one_is_read() -> None:
    """If this fails, a replay uses one core, and takes as long as both of its halves."""
    made = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        made.set()
        yield 2

    with closing(ahead(items())) as reader:
        assert next(reader) == 1
        assert made.wait(10.0)


def test_who_stops_reading_ends_the_thread() -> None:
    """If this fails, Ctrl-C leaves a thread that reads on, into a log that was closed."""
    made: list[int] = []

    def items() -> Iterator[int]:
        for i in range(1000):
            made.append(i)
            yield i

    for item in ahead(items()):
        if item == 3:
            break
    assert not [thread for thread in threading.enumerate() if thread.name == "ahead"]
    assert len(made) < 10
