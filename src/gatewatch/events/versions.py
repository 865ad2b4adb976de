"""Records between our own workers carry the version that they were written by."""

from __future__ import annotations

from gatewatch.errors import StateError, UnreadableError


def not_ours(what: str, header: bytes | None, ours: bytes) -> StateError:
    """The error for a record of another version.

    What names no version at all, as ``routed/1`` does, was not written by a worker: it is unreadable for all of them.

    >>> type(not_ours("a batch", b"routed/2", b"routed/1")).__name__
    'StateError'
    >>> type(not_ours("a batch", b"", b"routed/1")).__name__
    'UnreadableError'
    """
    header = header or b""
    family, _, number = header.partition(b"/")
    if family == ours.partition(b"/")[0] and number.isdigit():
        return StateError(
            f"{what} of schema {header.decode()}, this worker reads {ours.decode()}: others of this installation run "
            "another version. Nothing is lost: upgrade this one, too, before the topic's retention (24 h) is over"
        )
    return UnreadableError(f"{what} that names no schema")
