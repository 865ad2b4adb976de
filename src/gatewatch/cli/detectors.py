"""``gatewatch detectors``: what detectors there are, what each one does; to begin a new one, and to check it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape
from rich.table import Table

import gatewatch.detectors
from gatewatch.cli import screen
from gatewatch.cli.options import Json
from gatewatch.registry import Entry, load, load_all
from gatewatch.scaffold import Kind, write
from gatewatch.testing.check import cost_us, outcomes, sees_the_traffic

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, help="What detectors there are, and what each one does."
)


@app.command("list")
def list_all(as_json: Json = False) -> None:
    """Every detector on the search path, and the folder it came from."""
    entries = load_all()
    console = screen.console()
    if as_json:
        console.print_json(data=[summary(entry) for entry in entries.values()])
        return
    table = Table(show_edge=False)
    table.add_column("name", no_wrap=True)
    for header in ("version", "mode", "looks at", "reports", "folder"):
        table.add_column(header, overflow="fold")
    for entry in entries.values():
        facts = summary(entry)
        table.add_row(
            entry.name,
            str(facts["version"]),
            facts["mode"],
            ", ".join(facts["scopes"]),
            ", ".join(facts["reasons"]),
            escape(facts["folder"]),
        )
    console.print(table)


@app.command()
def show(name: Annotated[str, typer.Argument(help="Name of a detector.")], as_json: Json = False) -> None:
    """What a detector sees and misses, its options with their defaults, its tags, and what to do about its alerts."""
    entry = load(name)
    console = screen.console()
    if as_json:
        described = {
            **summary(entry),
            "description": _doc(entry),
            "options": dict(options(entry)),
            "playbook": entry.playbook,
        }
        console.print_json(data=described)
        return
    console.rule(f"{entry.name} {entry.version}", align="left")
    console.print(escape(_doc(entry)), highlight=False)
    console.print()
    console.print(_options_table(entry))
    console.print()
    console.print(_reasons_table(entry))
    console.print()
    console.print(Markdown(entry.playbook))


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the new detector: lower-case letters, digits and _.")],
    kind: Annotated[Kind, typer.Option("--kind", "-k", help="What it is made of.")] = Kind.PER_EVENT,
    into: Annotated[Path, typer.Option("--into", "-i", help="Folder for the new folder.")] = Path("detectors"),
) -> None:
    """Write a detector folder that works as it is: a small rule, its playbook and its cases, to be changed.

    Kinds: per-event is a model in plain Python, river any model of River's, kernel a compiled loop over rows (the
    fastest), population looks at projects, endpoints and clients.
    """
    folder = write(name, kind, into)
    console = Console(soft_wrap=True)
    console.print(f"written: {escape(str(folder))}", highlight=False)
    if str(into.resolve()) not in (str(Path(path).resolve()) for path in gatewatch.detectors.__path__):
        console.print(f"put it on the search path: export GATEWATCH_DETECTORS_PATH={escape(str(into.resolve()))}")
    console.print(f"then: gatewatch detectors check {name}")


@app.command()
def check(name: Annotated[str, typer.Argument(help="Name of a detector.")], as_json: Json = False) -> None:
    """Hold a detector to its contract, run its cases, measure its cost. Exit code 1 where a law is broken."""
    entry = load(name)
    console = screen.console()
    results = list(outcomes(entry))
    broken = sum(not result.ok for result in results)
    costs, sees = ({}, None) if broken else (cost_us(entry), sees_the_traffic(entry))  # what is broken may raise
    if as_json:
        rows = [{"law": r.law, "ok": r.ok, "error": r.error, "demands": r.demands} for r in results]
        console.print_json(
            data={"name": name, "ok": not broken, "sees_traffic": sees, "laws": rows, "cost_us_per_row": costs}
        )
        raise typer.Exit(int(broken > 0))
    table = Table("law", "", "what is wrong", show_edge=False)
    for result in results:
        mark = "[green]ok[/]" if result.ok else "[red]broken[/]"
        table.add_row(result.law, mark, "" if result.ok else escape(f"{result.error} (the law: {result.demands})"))
    console.print(table)
    if costs:
        console.print("us a row: " + ", ".join(f"{cost:.2f} at {at}" for at, cost in costs.items()), highlight=False)
    if sees is False:
        console.print("note: the kit's traffic lacks a field that it needs, so most laws have shown little")
    console.print(f"{len(results) - broken} of {len(results)} laws hold")
    raise typer.Exit(int(broken > 0))


def summary(entry: Entry) -> dict[str, Any]:
    """The facts of one detector, as plain values."""
    return {
        "name": entry.name,
        "version": entry.version,
        "mode": entry.defaults.mode.value,
        "scopes": [scope.value for scope in entry.scopes],
        "reasons": [reason.name for reason in entry.reasons],
        "tags": {taxonomy: list(ids) for taxonomy, ids in entry.defaults.tags.items()},
        "folder": str(entry.folder),
    }


def options(entry: Entry) -> list[tuple[str, Any]]:
    """Paths and defaults of all options, as a settings file would name them; units are in the names."""
    return _flat(entry.options(None), "")


def _flat(model: BaseModel, prefix: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name in type(model).model_fields:
        value = getattr(model, name)
        path = f"{prefix}{name}"
        found += _flat(value, f"{path}.") if isinstance(value, BaseModel) else [(path, value)]
    return found


def _doc(entry: Entry) -> str:
    return entry.doc


def _options_table(entry: Entry) -> Table:
    table = Table("option", "default", show_edge=False, title="Options", title_justify="left")
    table.add_row("mode", entry.defaults.mode.value)
    for path, value in options(entry):
        table.add_row(escape(path), escape(str(value)))
    return table


def _reasons_table(entry: Entry) -> Table:
    table = Table(
        "reason", "in words", "severity", "tags", show_edge=False, title="What it reports", title_justify="left"
    )
    for reason in entry.reasons:
        own = entry.defaults.reason_tags.get(reason.name, {})
        tags = {**entry.defaults.tags, **own}
        text = " ".join(tag for ids in tags.values() for tag in ids)
        table.add_row(reason.name, escape(reason.title), reason.severity.value, escape(text))
    return table
