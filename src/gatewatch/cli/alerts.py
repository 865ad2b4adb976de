"""``gatewatch alerts``: what people were told, and why."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from gatewatch.cli import own, screen
from gatewatch.cli.options import AtLeast, Config, Json, OpenOnly, Shadow, Since, duration
from gatewatch.decide import records_io
from gatewatch.errors import DetectorError
from gatewatch.records import Alert, Incident, Mode, Severity, Status
from gatewatch.records.quantities import amount, number, span, usual

if TYPE_CHECKING:
    from gatewatch.tune.again import Again

app = typer.Typer(help="List, show and explain alerts.", no_args_is_help=True, pretty_exceptions_enable=False)

COLOURS = {
    Severity.CRITICAL: "bold red",
    Severity.HIGH: "red",
    Severity.MEDIUM: "yellow",
    Severity.LOW: "cyan",
    Severity.INFO: "dim",
}
_BAR = 30  # cells of the longest contribution


@app.command("list")
def list_command(
    config: Config = None,
    folder: own.From = None,
    since: Since = None,
    severity: AtLeast = None,
    detector: Annotated[str | None, typer.Option(help="Only this detector.")] = None,
    project: Annotated[str | None, typer.Option(help="Only this project.")] = None,
    open_only: OpenOnly = False,
    shadow: Shadow = False,
    as_json: Json = False,
) -> None:
    """List alerts, each as it stands now, the latest last."""
    alerts = load(config, folder)
    oldest = own.oldest(alerts, since, live=folder is None)
    chosen = [
        a
        for a in alerts
        if (severity is None or a.severity.rank >= severity.rank)
        and (detector is None or a.detector == detector)
        and (project is None or a.project == project)
        and not (open_only and a.status is Status.RESOLVED)
        and (shadow or a.mode is not Mode.SHADOW)
        and a.last_ts >= oldest
    ]
    none = f"no such alert ({len(alerts)} without the filters)"
    own.print_list(chosen, _table, none, as_json=as_json, plain=own.model)


@app.command("show")
def show_command(
    alert_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the alert, or its beginning.")],
    config: Config = None,
    folder: own.From = None,
    as_json: Json = False,
) -> None:
    """Show everything that is recorded of one alert."""
    alert = _one(load(config, folder), alert_id)
    if as_json:
        own.print_json(alert.model_dump(mode="json"))
        return
    table = Table("field", "value", show_edge=False)
    for name, value in fields(alert):
        table.add_row(name, own.shown(value, 1000))
    screen.console().print(table)


@app.command("explain")
def explain_command(
    alert_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the alert, or its beginning.")],
    config: Config = None,
    folder: own.From = None,
    as_json: Json = False,
) -> None:
    """Say why an alert fired, what would have been normal, and what to do now."""
    alert = _one(load(config, folder), alert_id)
    playbook = _playbook(alert)
    if as_json:
        own.print_json(alert.model_dump(mode="json") | {"playbook_text": playbook})
        return
    console = screen.console()
    console.print(f"[{COLOURS[alert.severity]}]{alert.severity}[/] {own.shown(alert.summary, 1000)}", highlight=False)
    console.print(_times(alert), highlight=False)
    console.print()
    console.print(_score(alert), highlight=False)
    console.print(_bars(alert))
    for name, text in _reasons(alert):
        console.print(f"[bold]{name}[/] {own.shown(text, 1000)}", highlight=False)
    console.print("\n[bold]what to do[/]")
    console.print(playbook, markup=False, highlight=False)


@app.command("replay")
def replay_command(
    alert_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the alert, or its beginning.")],
    config: Config = None,
    back: Annotated[
        str, typer.Option(help="How much to read before its first finding (2h, 7d): baselines are learned from it.")
    ] = "2h",
    as_json: Json = False,
) -> None:
    """Make an alert again from what Kafka still holds around it. Sends nothing and stops nobody.

    Ends with exit code 1 where it does not come again: retention has taken its rows, the settings have changed, or its
    baseline needs a longer --back.
    """
    from gatewatch.state.layout import check_layout  # noqa: PLC0415 - brings Numba: a list needs none
    from gatewatch.tune.again import again  # noqa: PLC0415 - the same

    with own.own_log(config) as (settings, log):
        alerts = list(own.readable(own.in_topic(log, settings.kafka.topic("alerts")), records_io.read_alert))
        alert = _one(own.latest(alerts), alert_id)
        done = again(log, settings, alert, check_layout(log, settings), back_s=duration(back))
    if as_json:
        own.print_json({**asdict(done), "found": [a.model_dump(mode="json") for a in done.found]})
    else:
        typer.echo(
            f"{done.events:,} events of {own.shown(done.topic)}, from {back} before the first finding to the last"
        )
        for found in done.found:
            shadow = " (shadow)" if found.mode is Mode.SHADOW else ""
            same = "the same first row" if found.samples[:1] == alert.samples[:1] else "another first row"
            screen.console().print(
                f"again: {own.shown(found.summary, 1000)}{shadow}; {same}", highlight=False, soft_wrap=True
            )
    if not done.found:
        raise own.nothing(_why_not(alert, done, settings.hash))


def _why_not(alert: Alert, done: Again, config_hash: str) -> str:
    """What is different from when it was said, as far as we can tell."""
    causes = []
    if done.missing is not None:
        causes.append(f"Kafka no longer holds {done.missing}")
    if alert.config_hash != config_hash:
        causes.append(f"the settings were {alert.config_hash} then and are {config_hash} now")
    causes.append("a learned baseline needs a longer --back")
    return f"{alert.id} does not come again: {'; '.join(causes)}"


def load(config: Path | None, folder: Path | None) -> list[Alert]:
    """The last revision of every alert, by its last finding.

    Raises:
        ConfigError: the settings are wrong, or the folder is none of a replay.
        LogError: the topic cannot be read.
    """
    if folder is not None:
        alerts = list(own.readable(own.in_folder(folder, "alerts.jsonl"), records_io.read_alert))
        alerts += own.readable(own.in_shadow(folder, "alert"), records_io.read_alert)
    else:
        with own.own_log(config) as (settings, log):
            alerts = list(own.readable(own.in_topic(log, settings.kafka.topic("alerts")), records_io.read_alert))
    return own.latest(alerts)


def _one(alerts: list[Alert], alert_id: str) -> Alert:
    return own.one(alerts, alert_id, "alert", "`gatewatch alerts list --shadow`")


def _table(alerts: Sequence[Alert], on: Console) -> Table:
    """The summary says who and what."""
    rows = [
        (
            a.id, own.when(a.last_ts), graded(a), a.status.value,
            own.shown(a.owner or ("nobody" if "unowned" in a.context else "")), own.shown(a.summary, 1000),
        )
        for a in alerts
    ]  # fmt: skip
    return screen.listing(("id", "last (UTC)", "severity", "status", "owner", "what"), rows, on)


def graded(record: Alert | Incident) -> str:
    """The severity in its colour, and whether it was only recorded."""
    shadow = " (shadow)" if record.mode is Mode.SHADOW else ""
    return f"[{COLOURS[record.severity]}]{record.severity}[/]{shadow}"


def fields(alert: Alert | Incident) -> Iterator[tuple[str, str]]:
    """Everything that is recorded, as names and texts."""
    for name, value in alert.model_dump(mode="json").items():
        if value in (None, {}, [], ""):
            continue
        if name.endswith(("_ts", "_until")):
            yield name, f"{own.when(value)} UTC"
        elif name == "contributions":
            yield from ((f"contribution {part['name']}", f"{part['nats']:+.1f} nats: {part['text']}") for part in value)
        elif isinstance(value, dict):
            yield from ((f"{name}.{key}", _plain(inner)) for key, inner in value.items())
        else:
            yield name, _plain(value)


def _plain(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(_plain(inner) for inner in value)
    if isinstance(value, float):
        return number(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _times(alert: Alert) -> str:
    lasted = span(max(alert.last_ts - alert.first_ts, 0.0))
    return f"{alert.status}, {own.when(alert.first_ts)} to {own.when(alert.last_ts)} UTC ({lasted}), alert {alert.id}"


def _score(alert: Alert) -> str:
    return (
        f"[bold]why[/] {amount(alert.observed, own.shown(alert.unit))} where {usual(alert.expected)} was expected: "
        f"{alert.nats:.1f} nats of surprise, the threshold is {alert.threshold_nats:.1f}"
    )


def _bars(alert: Alert) -> Table:
    """Each contribution as a bar; they add up to the score."""
    table = Table(show_header=False, show_edge=False, box=None)
    longest = max((abs(c.nats) for c in alert.contributions), default=0.0) or 1.0
    for part in alert.contributions:
        cells = round(_BAR * abs(part.nats) / longest)
        bar = f"[{'red' if part.nats >= 0 else 'green'}]{'━' * cells}[/]"
        table.add_row(own.shown(part.name), f"{round(part.nats, 1) + 0.0:+.1f}", bar, own.shown(part.text, 512))
    return table


def _reasons(alert: Alert) -> Iterator[tuple[str, str]]:
    yield "normal", alert.baseline
    yield "otherwise", alert.counterfactual
    if beside := [f"{k} {v}" for k, v in alert.context.items() if k not in ("refused", "unowned")]:
        yield "also in the row", ", ".join(beside)
    if "refused" in alert.context:
        yield "no order", alert.context["refused"]
    if alert.decision_ids:
        yield "decisions", ", ".join(alert.decision_ids)
    yield "rows", ", ".join(alert.samples)
    owner = alert.owner or alert.context.get("unowned", "nobody in the catalog")
    yield "owner", owner + (f", escalate to {alert.escalation}" if alert.escalation else "")


def _playbook(alert: Alert) -> str:
    from gatewatch import registry  # noqa: PLC0415 - imports every detector: a list needs none
    from gatewatch.watch.playbook import playbooks  # noqa: PLC0415 - the same

    if (own_words := playbooks().get(f"{alert.detector}/{alert.reason}")) is not None:
        return own_words
    try:
        return registry.load(alert.detector).playbook.strip()
    except DetectorError:
        return f"the detector {alert.detector} is not installed here, and its playbook {alert.playbook} neither"
