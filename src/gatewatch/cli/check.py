"""``gatewatch check``: a settings file, before anything starts with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gatewatch import settings as settings_module
from gatewatch.catalog import Catalog
from gatewatch.cli import screen
from gatewatch.cli.errors import FAILED, printable
from gatewatch.cli.options import Config, Json
from gatewatch.clock import SystemClock
from gatewatch.config_files import nearest
from gatewatch.decide import modes
from gatewatch.errors import ConfigError, LogError
from gatewatch.events import formats
from gatewatch.log import open_log
from gatewatch.log.topics import specs
from gatewatch.records import Mode, Scope
from gatewatch.registry import Entry, active, check_settings, in_lane, load_all
from gatewatch.roles import Role
from gatewatch.settings import Settings

_WARNED = 1
_APPROVERS = 2  # who called an alert true asked for its order, and another must approve
_NAMED = 20  # things that nobody owns, by name; the rest is counted
# What a gateway can tell apart; findings on anything else order nothing.
ENFORCEABLE = frozenset({Scope.PRINCIPAL, Scope.CREDENTIAL, Scope.ACCOUNT, Scope.IP, Scope.NETWORK})


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing that was looked at."""

    level: Level
    path: str  # where in the settings
    text: str


Remarks = Iterator[Remark]


@dataclass(frozen=True, slots=True)
class Blind:
    """A scope that a detector cannot judge, because none of the fields it needs is there."""

    detector: str
    scope: Scope
    fields: tuple[str, ...]
    how: str  # to make a gateway send one of them


def command(
    config: Config = None,
    as_json: Json = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if there are warnings.")] = False,
    online: Annotated[bool, typer.Option("--online", help="Ask Kafka for the topics, too.")] = False,
    format_: Annotated[
        str | None, typer.Option("--format", help="Only say which detectors are blind on this format, and the cure.")
    ] = None,
) -> None:
    """Check a settings file before anything starts with it.

    Ends with exit code 2 if a worker would refuse it or nobody could follow its blocks, 1 with --strict if there is
    something to think about, else 0.
    """
    settings = settings_module.load(config)
    entries = load_all()
    if format_ is not None:
        _print_blind(format_, blind(formats.get(format_).fields, entries), as_json=as_json)
        return
    remarks = list(remarks_on(settings, entries, config))
    if online:
        remarks += _topics(settings)
    table = list(modes_of(settings, entries))
    console = screen.console()
    if as_json:
        console.print_json(data={"remarks": [asdict(remark) for remark in remarks], "modes": table})
    else:
        _print(console, remarks, table)
    levels = {remark.level for remark in remarks}
    if Level.ERROR in levels:
        raise typer.Exit(FAILED)
    if strict and Level.WARNING in levels:
        raise typer.Exit(_WARNED)


def remarks_on(settings: Settings, entries: dict[str, Entry], config: Path | None) -> Remarks:
    """Everything that can be said without a network."""
    yield Remark(Level.OK, str(config or "built-in settings"), f"can be read; config hash {settings.hash}")
    yield from _secrets(settings)
    yield from _catalog(settings)
    yield from _detectors(settings, entries)
    yield from _sources(settings, entries)
    yield from _budgets(settings, entries)
    yield from _blocks(settings, entries)
    yield from _buttons(settings)
    yield from _approvals(settings, entries)
    yield from _roles(settings)
    yield from _lanes(settings, entries)
    yield from _allow_list(settings, SystemClock().now())


def _tried(path: str, good: str, work: Callable[[], object]) -> Remark:
    """What is found when something is tried."""
    try:
        work()
    except ConfigError as error:
        return Remark(Level.ERROR, error.path or path, error.problem)
    return Remark(Level.OK, path, good)


def _secrets(settings: Settings) -> Remarks:
    security = settings.kafka.security
    if security.protocol.startswith("SASL"):
        yield _tried("kafka.security", "the password is there", security.password)


def _catalog(settings: Settings) -> Remarks:
    if settings.catalog is not None:
        try:
            catalog = Catalog.load(settings.catalog)
        except ConfigError as error:
            yield Remark(Level.ERROR, error.path or "catalog", error.problem)
            return
        yield Remark(
            Level.OK, "catalog", f"{settings.catalog} can be read; catalog hash {catalog.hash or 'of nothing'}"
        )
        if names := list(catalog.unowned(settings.projects)):
            more = f", and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            yield Remark(Level.WARNING, "catalog", f"nobody owns {', '.join(names[:_NAMED])}{more}")


def _detectors(settings: Settings, entries: dict[str, Entry]) -> Remarks:
    for name, own in settings.detectors.items():
        yield _tried(f"detectors.{name}", "its options are right", partial(check_settings, entries, {name: own}))
    for project, its in settings.projects.items():
        for name in its.detectors:
            if name not in entries:
                path = f"projects.{project}.detectors.{name}"
                yield Remark(Level.ERROR, path, f"no such detector{nearest(name, entries)}")


def _sources(settings: Settings, entries: dict[str, Entry]) -> Remarks:
    if not settings.sources:
        yield Remark(Level.WARNING, "sources", "no topic to read: a worker would have nothing to do")
    for i, source in enumerate(settings.sources):
        try:
            fields = formats.get(source.format, source=source).fields
        except ConfigError as error:
            yield Remark(Level.ERROR, f"sources.{i}.{error.path.removeprefix('sources.')}", error.problem)
            continue
        yield Remark(Level.OK, f"sources.{i}", f"topic {source.topic}, format {source.format}")
        for one in blind(fields, entries):
            how = f": {one.how}" if one.how else ""
            text = f"{one.detector} is blind on {one.scope.value}: format {source.format} brings no "
            yield Remark(Level.WARNING, f"sources.{i}", f"{text}{' or '.join(one.fields)}{how}")


def blind(fields: frozenset[str], entries: dict[str, Entry]) -> list[Blind]:
    """What detectors cannot judge where only these fields are filled."""
    return [
        Blind(entry.name, need.scope, need.fields, need.how)
        for entry in entries.values()
        for need in (entry.detector.needs if entry.detector is not None else ())
        if fields.isdisjoint(need.fields)
    ]


def _print_blind(name: str, found: list[Blind], *, as_json: bool) -> None:
    console = screen.console()
    if as_json:
        console.print_json(data=[asdict(one) for one in found])
    elif found:
        table = Table("detector", "blind on", "without", "how to feed it", show_edge=False)
        for one in found:
            table.add_row(one.detector, one.scope.value, " or ".join(one.fields), one.how)
        console.print(table)
    else:
        console.print(f"no detector is blind on format {name}")


def _budgets(settings: Settings, entries: dict[str, Entry]) -> Remarks:
    """What the budgets add up to; one share of it for each learned test of a detector that is on."""
    general = settings.budget.false_alarms_per_day
    running = active(entries, settings.detectors)
    tests = sum(entry.tests for entry in running.values())
    own = {name: p.budget.false_alarms_per_day for name, p in settings.projects.items() if p.budget is not None}
    total = sum(own.get(name, general) for name in settings.projects)
    listed = f"; {total:g} in all for the {len(settings.projects)} listed" if settings.projects else ""
    each = f", {general / tests:.3g} for each of {tests} learned tests of {len(running)} detectors" if tests else ""
    yield Remark(
        Level.OK, "budget", f"{general:g} false alarms of medium severity or worse a day and project{each}{listed}"
    )
    if not running:
        yield Remark(Level.WARNING, "detectors", "every detector is off: nothing will be found")


def _blocks(settings: Settings, entries: dict[str, Entry]) -> Remarks:
    """Where an order to block would go, and whether anybody there can follow it."""
    blocking = [row for row in modes_of(settings, entries) if row["mode"] == Mode.BLOCK.value]
    if blocking and settings.enforce is None:
        yield Remark(
            Level.WARNING,
            "enforce",
            f"mode block for {', '.join(sorted({row['detector'] for row in blocking}))}, but no `enforce` section: "
            f"decisions are written to {settings.kafka.topic('decisions')}, and stop nobody unless a gateway of yours "
            "reads them there",
        )
    elif settings.enforce is not None:
        for row in blocking:
            yield from _enforced(settings, entries[row["detector"]], row["project"], settings.enforce.scopes)


def _enforced(settings: Settings, entry: Entry, project: str, stopped: Mapping[Scope, tuple[str, ...]]) -> Remarks:
    """Whether the orders of one detector, in general or in one project, can be followed by any gateway."""
    block = modes.block_settings(settings, {entry.name: entry}, entry.name, project or None)
    scopes = entry.detector.scopes if entry.detector is not None else ()  # findings on populations order nothing
    ordered = [s for s in scopes if block.scope in {None, s} and s in ENFORCEABLE]
    lost = [scope.value for scope in ordered if scope not in stopped]
    path = f"projects.{project}.detectors.{entry.name}" if project else f"detectors.{entry.name}"
    fix = "name a gateway that does under enforce.gateways, enforce.bouncers or enforce.nginx, or set block.scope"
    if ordered and len(lost) == len(ordered):
        yield Remark(Level.ERROR, path, f"mode block, but nothing enforces a block on {' or '.join(lost)}: {fix}")
    elif lost:
        yield Remark(Level.WARNING, path, f"nothing enforces a block on {' or '.join(lost)}: {fix}")


def _buttons(settings: Settings) -> Remarks:
    """Whether anybody may press what is shown."""
    slacks = settings.notify.slacks if settings.notify is not None else {}
    if any(actor.slack is not None for actor in settings.verdicts.actors):
        return
    for path, slack in slacks.items():
        if slack.buttons is not None:
            fix = "give people their slack id (U042ABCDE) in verdicts.actors"
            yield Remark(Level.WARNING, f"{path}.buttons", f"buttons are shown and nobody may press them: {fix}")


def _approvals(settings: Settings, entries: dict[str, Entry]) -> Remarks:
    """Whether somebody is there to approve when one person sleeps, or asked for the order."""
    approvers = [actor.name for actor in settings.verdicts.actors if actor.approve]
    if len(approvers) >= _APPROVERS:
        return
    asking = [
        row["detector"] + (f" in {row['project']}" if row["project"] else "")
        for row in modes_of(settings, entries)
        if row["mode"] == Mode.BLOCK.value
        and modes.block_settings(settings, entries, row["detector"], row["project"] or None).approval
    ]
    if asking:
        who = f"only {approvers[0]} may" if approvers else "nobody may"
        then = "orders stay in shadow when that is who asked for them" if approvers else "every order stays in shadow"
        text = f"blocks of {', '.join(asking[:_NAMED])} wait for a second person, and {who} approve: {then}"
        yield Remark(Level.WARNING, "verdicts.actors", text)


def _roles(settings: Settings) -> Remarks:
    """Sections of roles that this version does not run."""
    here = {role.value for role in Role}
    for name, section in (("notify", settings.notify), ("enforce", settings.enforce)):
        if section is not None and name not in here:
            yield Remark(Level.WARNING, name, f"accepted, but `gatewatch worker` has no role {name} in this version")


def _lanes(settings: Settings, entries: dict[str, Entry]) -> Remarks:
    """Which role runs the slow ones: where roles are started one by one it is easily left out."""
    if slow := sorted(in_lane(active(entries, settings.detectors), "slow")):
        yield Remark(Level.OK, "detectors", f"{', '.join(slow)}: run by role {Role.DETECT_SLOW}, in a group of its own")


def _allow_list(settings: Settings, now: float) -> Remarks:
    for i, entry in enumerate(settings.guards.allow):
        if entry.until_ts < now:
            yield Remark(Level.WARNING, f"guards.allow.{i}", f"{entry.value} of {entry.owner} ran out on {entry.until}")


def _topics(settings: Settings) -> Remarks:
    """The topics of the sources and our own, as Kafka has them."""
    wanted = specs(settings)
    try:
        with closing(open_log(settings.kafka)) as log, closing(log.admin()) as admin:
            found = admin.describe([*(source.topic for source in settings.sources), *(spec.name for spec in wanted)])
    except LogError as error:
        yield Remark(Level.ERROR, "kafka", str(error))
        return
    for i, source in enumerate(settings.sources):
        known = found.get(source.topic)
        text = f"has {known.partitions} partitions" if known else "does not exist"
        yield Remark(Level.OK if known else Level.ERROR, f"sources.{i}", f"topic {source.topic} {text}")
    missing = [spec.name for spec in wanted if spec.name not in found]
    if missing:
        yield Remark(Level.ERROR, "kafka", f"missing: {', '.join(missing)}; run `gatewatch topics create`")
    else:
        yield Remark(Level.OK, "kafka", "the topics of Gatewatch exist; `gatewatch topics check` looks closer")


def modes_of(settings: Settings, entries: dict[str, Entry]) -> Iterator[dict[str, str]]:
    """Mode of each detector, in general and in each project that is listed."""
    for name in entries:
        yield {"detector": name, "project": "", "mode": modes.configured(settings, entries, name, None).value}
        for project in settings.projects:
            mode = modes.configured(settings, entries, name, project)
            yield {"detector": name, "project": project, "mode": mode.value}


def _print(console: Console, remarks: list[Remark], table: list[dict[str, str]]) -> None:
    colours = {Level.OK: "green", Level.WARNING: "yellow", Level.ERROR: "red"}
    for remark in remarks:
        head = f"[{colours[remark.level]}]{remark.level.value:>7}[/]"
        console.print(f"{head}  {escape(printable(f'{remark.path}: {remark.text}'))}", highlight=False, soft_wrap=True)
    shown = Table("detector", "project", "mode", show_edge=False)
    for row in table:
        shown.add_row(row["detector"], escape(row["project"] or "any other"), row["mode"])
    console.print()
    console.print(shown)
    counts = {level: sum(remark.level is level for remark in remarks) for level in Level}
    console.print(f"\n{counts[Level.ERROR]} errors, {counts[Level.WARNING]} warnings")
