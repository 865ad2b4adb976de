"""``gatewatch incidents``: alerts that belong together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from gatewatch.cli import own, screen
from gatewatch.cli.alerts import COLOURS, fields, graded
from gatewatch.cli.options import AtLeast, Config, Json, OpenOnly, Shadow, Since
from gatewatch.decide import records_io
from gatewatch.decide.text import accused
from gatewatch.records import Incident, Mode, Status

app = typer.Typer(help="List and show incidents.", no_args_is_help=True, pretty_exceptions_enable=False)


@app.command("list")
def list_command(
    config: Config = None,
    folder: own.From = None,
    since: Since = None,
    severity: AtLeast = None,
    project: Annotated[str | None, typer.Option(help="Only those that touch this project.")] = None,
    open_only: OpenOnly = False,
    shadow: Shadow = False,
    as_json: Json = False,
) -> None:
    """List incidents, each as it stands now, the latest last."""
    incidents = load(config, folder)
    oldest = own.oldest(incidents, since, live=folder is None)
    chosen = [
        i
        for i in incidents
        if i.merged_into is None
        and (severity is None or i.severity.rank >= severity.rank)
        and (project is None or project in i.projects)
        and not (open_only and i.status is Status.RESOLVED)
        and (shadow or i.mode is not Mode.SHADOW)
        and i.last_ts >= oldest
    ]
    none = f"no such incident ({len(incidents)} without the filters)"
    own.print_list(chosen, _table, none, as_json=as_json, plain=own.model)


@app.command("show")
def show_command(
    incident_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the incident, or its beginning.")],
    config: Config = None,
    folder: own.From = None,
    as_json: Json = False,
) -> None:
    """Show one incident: its story, who belongs to it and why, and what was done."""
    incident = own.one(load(config, folder), incident_id, "incident", "`gatewatch incidents list --shadow`")
    if as_json:
        own.print_json(incident.model_dump(mode="json"))
        return
    console = screen.console()
    console.print(f"[{COLOURS[incident.severity]}]{incident.severity}[/] {own.shown(incident.story, 2000)}\n")
    table = Table("field", "value", show_edge=False)
    for name, value in fields(incident):
        if name not in ("story", "members"):
            table.add_row(name, own.shown(value, 1000))
    console.print(table)
    console.print(_members(incident))


def load(config: Path | None, folder: Path | None) -> list[Incident]:
    """The last revision of every incident, by its last finding.

    Raises:
        ConfigError: the settings are wrong, or the folder is none of a replay.
        LogError: the topic cannot be read.
    """
    if folder is not None:
        incidents = list(own.readable(own.in_folder(folder, "incidents.jsonl"), records_io.read_incident))
    else:
        with own.own_log(config) as (settings, log):
            topic = settings.kafka.topic("incidents")
            incidents = list(own.readable(own.in_topic(log, topic), records_io.read_incident))
    return own.latest(incidents)


def _table(incidents: Sequence[Incident], on: Console) -> Table:
    rows = [
        (i.id, own.when(i.last_ts), graded(i), i.status.value, own.shown(i.owner or ""), own.shown(i.story, 1000))
        for i in incidents
    ]
    return screen.listing(("id", "last (UTC)", "severity", "status", "owner", "story"), rows, on)


def _members(incident: Incident) -> Table:
    more = incident.members_total - len(incident.members)
    title = f"{incident.members_total} members" + (f", {more} not shown" if more else "")
    table = Table("who", "severity", "findings", "detectors", "alert", title=title, title_justify="left")
    for m in incident.members:
        who, detectors = own.shown(accused(m.scope, m.key)), own.shown(", ".join(m.detectors))
        table.add_row(who, m.severity.value, str(m.count), detectors, m.alert_id)
    return table
