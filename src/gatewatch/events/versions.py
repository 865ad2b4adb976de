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
    family, _, number = (header or b"").partition(b"/")
    if family == ours.partition(b"/")[0] and number.isdigit():
        return StateError(
            f"{what} of schema {header!r}, this worker reads {ours!r}: "
            "let all workers of one installation run the same version"
        )
    return UnreadableError(f"{what} that names no schema")
