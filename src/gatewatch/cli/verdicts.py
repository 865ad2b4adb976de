"""``gatewatch verdicts``: what people say about alerts and incidents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from gatewatch import verdicts
from gatewatch.cli import own, screen
from gatewatch.cli.options import Config, Json, duration, ending
from gatewatch.clock import SystemClock
from gatewatch.config_files import read_mapping
from gatewatch.decide import propose, records_io
from gatewatch.decide.text import accused
from gatewatch.log.base import Log
from gatewatch.records import Alert, Finding, Incident, Verdict, VerdictKind
from gatewatch.settings import Settings

app = typer.Typer(help="Judge alerts and incidents.", no_args_is_help=True, pretty_exceptions_enable=False)

_clock = SystemClock()


@app.command("add")
def add_command(
    about_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the alert or incident, or its beginning.")],
    kind: Annotated[VerdictKind, typer.Option(help="What it is.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; it is recorded with your name.")],
    config: Config = None,
    until: Annotated[
        str | None, typer.Option(help="For expected and snooze: for how long (8h, 7d), or an ISO date and time.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what an alert or an incident is.

    expected lets the key go until the end; snooze holds messages back; false_alarm closes the alert; approve lets
    orders hold that wait for a second person, reject does not: who called it true cannot approve. Your name must be on
    verdicts.actors.
    """
    with own.own_log(config) as (settings, log):
        now = _clock.now()
        about, (book, _bad) = _find(log, settings, about_id), verdicts.Book.load(log, settings)
        alert_ids = about.alert_ids if isinstance(about, Incident) else (about.incident_id,)
        verdict = verdicts.verdict_on(
            about,
            kind,
            actor=own.actor(),
            reason=reason,
            now=now,
            settings=settings.verdicts,
            until=None if until is None else ending(until, now),
            said=book.about(about.id, *alert_ids),
        )
        verdicts.send(log, settings, [verdict])
    if as_json:
        own.print_json(verdict.model_dump(mode="json"))
        return
    end = "" if verdict.until is None else f" until {own.when(verdict.until)} UTC"
    typer.echo(f"{verdict.id}: {accused(verdict.scope, verdict.key)} is {kind.value}{end}")


@app.command("list")
def list_command(
    config: Config = None,
    since: Annotated[str | None, typer.Option(help="Only those of the last 90, 10m, 8h, 7d.")] = None,
    kind: Annotated[VerdictKind | None, typer.Option(help="Only this kind.")] = None,
    as_json: Json = False,
) -> None:
    """List what was said, the latest last."""
    oldest = float("-inf") if since is None else _clock.now() - duration(since)
    chosen = [v for v in _book(config).verdicts() if v.ts >= oldest and (kind is None or v.kind is kind)]
    own.print_list(chosen, _table, "nobody said anything", as_json=as_json, plain=own.model)


@app.command("propose")
def propose_command(
    config: Config = None,
    findings: Annotated[
        Path | None, typer.Option(help="findings.jsonl of a replay, instead of what Kafka has.")
    ] = None,
    since: Annotated[str, typer.Option(help="Findings of the last 90, 10m, 8h, 7d, of the data.")] = "7d",
    as_json: Json = False,
) -> None:
    """Say how the settings should change after what people said, and what that would have cost. Changes nothing."""
    with own.own_log(config) as (settings, log):
        book, _bad = verdicts.Book.load(log, settings)
        known = list(_findings(log, settings, findings))
    newest = max((f.ts for f in known), default=0.0)
    known = [f for f in known if f.ts >= newest - duration(since)]
    proposals = propose.propose(settings, book.verdicts(), known, _clock.now())
    raw = {} if config is None else read_mapping(config, str(config), "kafka, sources, detectors")
    change = propose.diff(raw, propose.changed(raw, proposals), str(config or "gatewatch.yaml"))
    if as_json:
        own.print_json({"proposals": [_plain(p) for p in proposals], "diff": change})
    elif proposals:
        for p in proposals:
            typer.echo(f"# {p.why}: {_cost(p)}")
        typer.echo(change)
    if not proposals:
        raise own.nothing("no verdict asks for a change of the settings")


def _findings(log: Log, settings: Settings, path: Path | None) -> Iterator[Finding]:
    if path is not None:
        yield from own.readable(own.in_folder(path.parent, path.name), records_io.read_finding)
        return
    for place, value in own.in_topic(log, settings.kafka.topic("findings")):
        batch, _bad = records_io.read_batch(value, place)
        yield from batch.findings


def _cost(p: propose.Proposal) -> str:
    did = "would have removed" if p.effect == "removed" else "nobody would have been stopped for"
    return f"{did} {p.hit} of {p.of} findings, among them {p.true} marked true"


def _plain(p: propose.Proposal) -> dict[str, object]:
    value = [{k: str(v) for k, v in entry.items()} for entry in p.value] if isinstance(p.value, list) else p.value
    return asdict(p) | {"path": ".".join(p.path), "value": value}


def _book(config: Path | None) -> verdicts.Book:
    with own.own_log(config) as (settings, log):
        book, bad = verdicts.Book.load(log, settings)
    if bad:
        typer.secho(f"{bad} verdicts cannot be read", fg="yellow", err=True)
    return book


def _find(log: Log, settings: Settings, about_id: str) -> Alert | Incident:
    """The alert or incident whose id begins so, as it stands now."""
    topic = settings.kafka.topic
    records: list[Alert | Incident] = []
    records += own.latest(own.readable(own.in_topic(log, topic("alerts")), records_io.read_alert))
    records += own.latest(own.readable(own.in_topic(log, topic("incidents")), records_io.read_incident))
    commands = "`gatewatch alerts list --shadow` and `gatewatch incidents list`"
    return own.one(records, about_id, "alert or incident", commands)


def _table(chosen: Sequence[Verdict], on: Console) -> Table:
    rows = [
        (
            own.when(v.ts), v.alert_id or v.incident_id or "", v.kind.value, own.shown(v.actor),
            "" if v.until is None else own.when(v.until), own.shown(accused(v.scope, v.key)), own.shown(v.reason, 500),
        )
        for v in chosen
    ]  # fmt: skip
    return screen.listing(("said (UTC)", "about", "what", "by", "until (UTC)", "who", "why"), rows, on)
