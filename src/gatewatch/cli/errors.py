"""What a user sees when something goes wrong: one line, and an exit code.

Exit codes: 0 all is well; 1 the command did its work and the answer is no (an attack missed, a warning with
``--strict``); 2 it could not do its work, or was called wrongly; 130 it was interrupted.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from gatewatch.errors import GatewatchError

FAILED = 2
# What a disk says of itself, without the name of a file once that is open: full, over quota, limited, read-only, broken
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO})
INTERRUPTED = 130


@contextmanager
def reported(*, debug: bool) -> Iterator[None]:
    """Turn errors that are meant for the user into one red line and exit code 2.

    Anything else is a bug of ours and keeps its traceback, as does everything with ``debug``.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        typer.echo("stopped", err=True)
        raise typer.Exit(INTERRUPTED) from error
    except BrokenPipeError:
        raise  # the reader of our output has gone; typer ends quietly
    except GatewatchError as error:
        if debug:
            raise
        _say(str(error))
        raise typer.Exit(FAILED) from error
    except OSError as error:
        if debug or (error.filename is None and error.errno not in _DISK):
            raise
        _say(f"{error.filename or 'a file that is being written or read'}: {error.strerror}")
        raise typer.Exit(FAILED) from error


def _say(text: str) -> None:
    typer.secho(f"error: {printable(text)}", fg=typer.colors.RED, err=True)


def printable(text: str) -> str:
    r"""The text in one line, with control characters shown: parts of it may come from a stranger.

    >>> printable("bad \x1b[2J name")
    'bad \\x1b[2J name'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
