"""What commands share that run files through the flow: arguments, the source, the bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from gatewatch.log.files import total_bytes
from gatewatch.settings import Settings, Source

Files = Annotated[list[str], typer.Argument(help="Event files (.jsonl, .log, .gz, .zst, .parquet), or - for stdin.")]
Format = Annotated[str, typer.Option("--format", "-f", help="How a line is written: native, combined, nginx, ...")]


def source_of(settings: Settings, fmt: str) -> Source:
    """The configured source of that format (for its map and hops), else a plain one."""
    for source in settings.sources:
        if source.format == fmt:
            return source
    return Source(topic="replay", format=fmt)


@contextmanager
def bar_over(files: Sequence[str], verb: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar over the bytes of some files, on standard error, where somebody looks."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as bar:
        task = bar.add_task(verb, total=total_bytes(files))
        yield lambda read, events: bar.update(task, completed=read, description=f"{verb}: {events:,} events")
