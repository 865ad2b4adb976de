"""``gatewatch evaluate``: how good the detectors are on labelled events."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.markup import escape

from gatewatch import settings as settings_module
from gatewatch.cli import screen
from gatewatch.cli.options import Config, Json
from gatewatch.cli.replaying import Files, Format, bar_over, make_writable, source_of, tell_unread

if TYPE_CHECKING:
    from gatewatch.tune.evaluate import Report


def command(
    files: Files,
    fmt: Format,
    labels: Annotated[
        Path,
        typer.Option(
            "--labels",
            "-l",
            help="What was an attack: what `simulate --labels` wrote, or JSON lines with attack, kind, scope, key, "
            "start and end (epoch seconds or ISO).",
        ),
    ],
    config: Config = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for evaluation.json and, with gatewatch\\[plots], PNGs.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run labelled events through the whole flow: what is caught, how soon, at how many false alarms a day.

    An attack is caught where an alert names one of its keys, at its time: as the alert's own, or as who or where from
    its row was. Intervals are 95 %: bootstrap over days and keys for false alarms, exact for shares. Exit code 1 if an
    attack was missed by every detector.
    """
    from gatewatch.tune import evaluate_report  # noqa: PLC0415 - brings Numba: `--help` needs none
    from gatewatch.tune.evaluate import ANY, evaluate  # noqa: PLC0415 - the same

    settings = settings_module.load(config)
    source = source_of(settings, fmt)
    if out is not None:
        make_writable(out)
    with bar_over(files, "evaluating", quiet=as_json) as progress:
        report = evaluate(files, source, labels, settings, progress=progress)
    if out is not None:
        _write(report, out)
    if as_json:
        screen.console().print_json(data=evaluate_report.as_json(report))
    else:
        _print(report)
    tell_unread(report.unread, report.events, fmt, quiet=as_json)
    everything = next(d for d in report.detectors if d.detector == ANY)
    if any(found.after_s is None for found in everything.caught):
        raise typer.Exit(1)


def _write(report: Report, out: Path) -> None:
    from gatewatch.tune import evaluate_report  # noqa: PLC0415 - see above

    out.mkdir(parents=True, exist_ok=True)
    written = [out / "evaluation.json"]
    written[0].write_bytes(msgspec.json.format(msgspec.json.encode(evaluate_report.as_json(report)), indent=2))
    pictures = evaluate_report.plots(report, out)
    console = screen.console(stderr=True)
    if not pictures:
        console.print(escape("no pictures: they need matplotlib, pip install 'gatewatch[plots]'"))
    console.print(f"written: {', '.join(str(path) for path in (*written, *pictures))}", markup=False)


def _print(report: Report) -> None:
    from gatewatch.tune import evaluate_report  # noqa: PLC0415 - see above

    console = screen.console()
    for table in evaluate_report.tables(report):
        console.print(table)
    unread = sum(some.elements for some in report.unread)
    console.print(
        f"{report.events:,} events over {report.days:.1f} days, {report.hostile_events:,} of them of "
        f"{report.attacks} attacks, {unread:,} unreadable; false alarms: severity medium or worse"
    )
    if report.unseen:
        console.print(f"no event of: {', '.join(report.unseen)}", markup=False)
