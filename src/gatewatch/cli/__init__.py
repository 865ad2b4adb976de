"""The command ``gatewatch``: one module a command, imported only when that command runs.

So ``gatewatch --help`` starts neither numba nor a Kafka client. A module offers ``app`` (a typer app with commands of
its own) or ``command`` (a function).
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from gatewatch import __version__
from gatewatch.cli.errors import reported
from gatewatch.cli.examples import EXAMPLES

# name -> module, and what the list of commands says about it; in the order a newcomer needs them
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("demo", "Simulated traffic and attacks through the whole flow, then a scoreboard."),
    "replay": ("replay", "Run files through ingest, detect and decide at full speed, with the data's own time."),
    "evaluate": (
        "evaluate",
        "Run labelled events through the whole flow: what is caught, how soon",
    ),
    "suggest": (
        "suggest",
        "Replay files with five budgets and five times each limit",
    ),
    "worker": ("worker", "Read events from Kafka, detect, decide, notify, enforce."),
    "ship": (
        "ship",
        "Send each line of a growing log file to a topic",
    ),
    "receive": ("receive", "Take log records over HTTP and write them to the topics of `receive.sources`."),
    "canary": ("canary", "Probe your own endpoint (`canary.url`) on a schedule, and measure each hop behind it."),
    "topics": ("topics", "Create and check the topics that Gatewatch needs."),
    "state": ("state", "List, check and export the snapshots of tasks."),
    "check": ("check", "Check a settings file before anything starts with it."),
    "detectors": ("detectors", "What detectors there are, and what each one does."),
    "alerts": ("alerts", "List, show and explain alerts."),
    "incidents": ("incidents", "List and show incidents."),
    "decisions": ("decisions", "List, add and remove block decisions."),
    "verdicts": ("verdicts", "Judge alerts and incidents."),
    "silences": ("silences", "Hold alerts back for a time."),
    "audit": ("audit", "What was told to whom, and whether the record of it is whole."),
    "dead-letters": ("dead_letters", "List, show and retry events that could not be read."),
    "simulate": ("simulate", "Make benign traffic and labelled attacks, into a file or a topic."),
}


class LazyGroup(TyperGroup):
    """A group whose commands are imported when they are run, not when they are listed."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All names, in the order of the table."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A name and a line of help: enough for lists."""
        del ctx
        return TyperCommand(cmd_name, help=COMMANDS[cmd_name][1]) if cmd_name in COMMANDS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The real command, where there is one of that name."""
        if args and args[0] in COMMANDS:
            return args[0], load(args[0]), args[1:]
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run; what Gatewatch itself reports becomes one line and an exit code."""
        with reported(debug=ctx.params["debug"]):
            return super().invoke(ctx)


def load(name: str) -> Any:
    """Import one command."""
    module = importlib.import_module(f"gatewatch.cli.{COMMANDS[name][0]}")
    group = getattr(module, "app", None)
    if group is None:
        group = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
        group.command(name)(module.command)
    command = typer.main.get_command(group)
    command.name = name
    for path, leaf in leaves(command):
        leaf.epilog = f"Example: {EXAMPLES[path]}" if path in EXAMPLES else None
    return command


def leaves(command: Any) -> Iterator[tuple[str, Any]]:
    """What can be run: the command itself, or those of a group, each with its words."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield command.name, command
    else:
        yield from ((f"{command.name} {name}", leaf) for name, leaf in inner.items())


app = typer.Typer(cls=LazyGroup, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"gatewatch {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", envvar="GATEWATCH_DEBUG", help="Show the traceback of an error.")
    ] = False,
) -> None:
    """Gatewatch watches the access events of model endpoints, tells people and gateways about abuse."""
    del version, debug  # read by their callbacks and by LazyGroup.invoke
    # Standard output is for results; a worker sets its own log up, by its settings.
    from gatewatch.observe.logs import configure  # noqa: PLC0415 - `gatewatch --help` need not read the settings
    from gatewatch.settings import LogSettings  # noqa: PLC0415

    configure(LogSettings(format="console", level="warning"))


def main() -> None:
    """Entry point of the command."""
    app(prog_name="gatewatch")
