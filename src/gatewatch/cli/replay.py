"""``gatewatch replay``: files through the whole flow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from gatewatch import settings as settings_module
from gatewatch.cli import screen
from gatewatch.cli.options import Config
from gatewatch.cli.replaying import Files, Format, bar_over, make_writable, source_of, tell_unread

if TYPE_CHECKING:
    from gatewatch.tune.replay import Replayed

_SHOWN = 20  # alerts in the table; all are in the files


def command(
    files: Files,
    fmt: Format,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for alerts.jsonl, decisions.jsonl and the others.")],
    config: Config = None,
    warm: Annotated[
        list[str] | None,
        typer.Option("--warm", "-w", help="Older events to learn from and say nothing of; repeatable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Run files through ingest, detect and decide at full speed, with the data's own time.

    Sends nothing and stops nobody: what would have been sent is in the output folder.
    """
    from gatewatch.tune.replay import replay, write  # noqa: PLC0415 - brings Numba: `--help` needs none

    settings = settings_module.load(config)
    source = source_of(settings, fmt)
    make_writable(out)
    with bar_over(files, "replaying", quiet=as_json) as progress:
        done = replay(files, source, settings, warm=warm or (), progress=progress)
    summary = write(done, out, settings)
    if as_json:
        screen.console().print_json(data=summary)
    else:
        _print(done, summary, out)
    tell_unread(done.unread(), done.events, fmt, quiet=as_json)


def _print(done: Replayed, summary: dict[str, object], out: Path) -> None:
    console = screen.console()
    alerts = [a for a in done.last_alerts() if a.mode != "shadow"]
    if alerts:
        gravest = sorted(alerts, key=lambda a: -a.severity.rank)[:_SHOWN]
        rows = ((a.severity.value, a.detector, escape(a.summary)) for a in gravest)
        console.print(screen.listing(("severity", "detector", "what"), rows, console))
        if len(alerts) > _SHOWN:
            console.print(f"and {len(alerts) - _SHOWN} more in {out / 'alerts.jsonl'}")
    console.print(
        f"{summary['events']:,} events, {summary['dead_letters']:,} unreadable, {summary['alerts']} alerts, "
        f"{summary['decisions']} decisions, {summary['events_per_s']:,} events/s"
    )
    if done.history_events:
        console.print(
            f"before that {done.history_events:,} events of history; "
            f"{done.history_findings:,} findings not newer than it were not told"
        )
    console.print(
        f"written to {out}: alerts.jsonl, decisions.jsonl, findings.jsonl, summary.json"
        + (", dead-letters.jsonl" if done.dead else "")
    )
    if alerts:
        console.print(f"next: gatewatch incidents list --from {out}; gatewatch alerts explain ID --from {out}")
