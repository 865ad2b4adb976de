"""``gatewatch detectors``: what detectors there are, and what each one does."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape
from rich.table import Table

from gatewatch.cli.options import Json
from gatewatch.registry import Entry, load, load_all

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, help="What detectors there are, and what each one does."
)


@app.command("list")
def list_all(as_json: Json = False) -> None:
    """Every detector on the search path, and the folder it came from."""
    entries = load_all()
    console = Console()
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
    console = Console()
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
