"""``gatewatch topics``: create our topics, and say how those that exist differ from what we need."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated, Any

import typer
from rich.table import Table

from gatewatch import settings as settings_module
from gatewatch.cli import screen
from gatewatch.cli.options import Config, Json
from gatewatch.cli.own import NOTHING, nothing, own_log, print_json, shown
from gatewatch.errors import GatewatchError
from gatewatch.log.acl import grants
from gatewatch.log.base import Log
from gatewatch.log.topics import Difference, differences, specs
from gatewatch.settings import Settings
from gatewatch.state.layout import Layout, check_layout, ensure_layout, read_layout

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, help="Create and check the topics that Gatewatch needs."
)


@app.command()
def create(config: Config = None, as_json: Json = False) -> None:
    """Create the topics that are missing; those that exist stay as they are."""
    with own_log(config) as (settings, log):
        wanted = specs(settings)
        with closing(log.admin()) as admin:
            made = set(admin.create(wanted))
        layout, laid_out = ensure_layout(log, settings)
        wrong = _differences(log, settings)
    if as_json:
        topics = [{"name": s.name, "partitions": s.partitions, "created": s.name in made} for s in wanted]
        print_json({"topics": topics, "layout": _shown_layout(layout), "differences": _rows(wrong)})
        return
    table = Table("topic", "partitions", "", show_edge=False)
    for spec in wanted:
        table.add_row(spec.name, str(spec.partitions), "created" if spec.name in made else "exists")
    console = screen.console()
    console.print(table)
    said = "laid out now" if laid_out else "laid out before"
    console.print(f"{said}: {layout.partitions} partitions, hash seed {layout.seed_id}, schema {layout.schema}")
    if wrong:
        console.print(f"{len(wrong)} things differ from what is needed: see `gatewatch topics check`", style="yellow")


@app.command()
def check(config: Config = None, as_json: Json = False) -> None:
    """Say how the topics of the cluster differ from what is needed. Exit code 1 if they do."""
    with own_log(config) as (settings, log):
        wrong = _differences(log, settings)
        layout, problem = _layout(log, settings, wrong)
    if as_json:
        found = None if layout is None else _shown_layout(layout)
        print_json({"differences": _rows(wrong), "layout": found, "layout_problem": problem})
    else:
        _print(wrong, problem)
    if wrong or problem:
        raise typer.Exit(NOTHING)


Principal = Annotated[str | None, typer.Option(help="Kafka principal of the role, such as User:gw-ingest.")]


@app.command()
def acl(
    config: Config = None,
    principal_gateway: Principal = None,
    principal_ingest: Principal = None,
    principal_detect: Principal = None,
    principal_decide: Principal = None,
    principal_notify: Principal = None,
    principal_enforce: Principal = None,
) -> None:
    """Print the commands that give each role what it needs on Kafka, and no more. Asks no broker."""
    settings = settings_module.load(config)
    named = {
        "gateway": principal_gateway,
        "ingest": principal_ingest,
        "detect": principal_detect,
        "decide": principal_decide,
        "notify": principal_notify,
        "enforce": principal_enforce,
    }
    principals = {role: name for role, name in named.items() if name is not None}
    if not principals:
        raise nothing("name at least one principal, such as --principal-ingest User:gw-ingest")
    for grant in grants(settings, principals):
        typer.echo(grant.command(",".join(settings.kafka.bootstrap)))


def _differences(log: Log, settings: Settings) -> list[Difference]:
    names = [spec.name for spec in specs(settings)] + [source.topic for source in settings.sources]
    with closing(log.admin()) as admin:
        return differences(settings, admin.describe(names))


def _layout(log: Log, settings: Settings, wrong: list[Difference]) -> tuple[Layout | None, str | None]:
    """The layout, and what is wrong with it; nothing is said twice of a topic that is missing."""
    topic = settings.kafka.topic("state")
    if any(d.topic == topic and d.what == "missing" for d in wrong):
        return None, None
    layout = read_layout(log, topic)
    try:
        check_layout(log, settings)
    except GatewatchError as error:
        return layout, str(error)
    return layout, None


def _print(wrong: list[Difference], problem: str | None) -> None:
    console = screen.console()
    if wrong:
        table = Table("topic", "what", "is", "must be", show_edge=False)
        for d in wrong:
            table.add_row(shown(d.topic), d.what, shown(d.is_), d.must_be)
        console.print(table)
    if any(d.what == "missing" for d in wrong):
        console.print("missing topics of ours: `gatewatch topics create`; sources: create them, or correct `sources:`")
    if problem is not None:
        console.print(shown(problem, 500), style="red")
    if not wrong and problem is None:
        console.print("all topics are as they must be")


def _rows(wrong: list[Difference]) -> list[dict[str, Any]]:
    return [{"topic": d.topic, "what": d.what, "is": d.is_, "must_be": d.must_be} for d in wrong]


def _shown_layout(layout: Layout) -> dict[str, Any]:
    """Without the secret."""
    return {"partitions": layout.partitions, "seed_id": layout.seed_id, "schema": layout.schema}
