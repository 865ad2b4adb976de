"""What commands share that run files through the flow: arguments, the source, the bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from gatewatch.cli import screen
from gatewatch.cli.errors import printable
from gatewatch.errors import ConfigError
from gatewatch.log.files import total_bytes
from gatewatch.settings import Settings, Source

if TYPE_CHECKING:
    from gatewatch.tune.replay import Unread

Files = Annotated[list[str], typer.Argument(help="Event files (.jsonl, .log, .gz, .zst, .parquet), or - for stdin.")]
Format = Annotated[str, typer.Option("--format", "-f", help="How a line is written: native, combined, nginx, ...")]


def source_of(settings: Settings, fmt: str) -> Source:
    """The configured source of that format (for its map and hops), else a plain one."""
    for source in settings.sources:
        if source.format == fmt:
            return source
    return Source(topic="replay", format=fmt)


def make_writable(folder: Path) -> None:
    """The folder for results, before hours of work are done for it.

    Raises:
        ConfigError: it cannot be made, or not be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError("--out", f"{folder} cannot be written: {error.strerror}") from error


def tell_unread(unread: Sequence[Unread], events: int, fmt: str, *, quiet: bool) -> None:
    """Say on standard error what could not be read, where the first of it stands, and why.

    Raises:
        typer.Exit: code 1: nothing at all could be read.
    """
    console = Console(stderr=True, quiet=quiet)
    for some in unread:
        console.print(printable(f"not read: {some}"), style="yellow", markup=False, highlight=False, soft_wrap=True)
    if unread and not events:
        console.print(f"nothing could be read as `{fmt}`: is it another --format?", style="red", markup=False)
        raise typer.Exit(1)


@contextmanager
def bar_over(files: Sequence[str], verb: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar over the bytes of some files, on standard error, where somebody looks."""
    console = screen.console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as bar:
        task = bar.add_task(f"{verb} (the first run on a machine compiles for some minutes)", total=total_bytes(files))
        yield lambda read, events: bar.update(task, completed=read, description=f"{verb}: {events:,} events")
