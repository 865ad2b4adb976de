"""``gatewatch decisions``: who is stopped, and people's own orders."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from gatewatch.cli import own, screen
from gatewatch.cli.options import Config, Json, duration
from gatewatch.clock import SystemClock
from gatewatch.decide import records_io
from gatewatch.decide.candidate import ADDRESSES, Candidate
from gatewatch.decide.guards import Known, check
from gatewatch.decide.text import accused, clean
from gatewatch.events.address import parse_network
from gatewatch.log.base import Log
from gatewatch.records import LONGEST_S, Action, Decision, Mode, Scope
from gatewatch.records.quantities import span
from gatewatch.settings import Settings

app = typer.Typer(help="List, add and remove block decisions.", no_args_is_help=True, pretty_exceptions_enable=False)

Why = Annotated[str, typer.Option("--reason", help="Why; it is recorded with your name.")]
_clock = SystemClock()


@app.command("list")
def list_command(
    config: Config = None,
    folder: own.From = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also what has ended, was removed, or is in shadow.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List who is stopped now."""
    if folder is not None:
        decisions = list(own.readable(own.in_folder(folder, "decisions.jsonl"), records_io.read_decision))
        if everything:
            decisions += own.readable(own.in_shadow(folder, "decision"), records_io.read_decision)
        decisions = _last(decisions)
        everything = True  # a replay's time is over
    else:
        with own.own_log(config) as (settings, log):
            decisions = _read(log, settings)
    now = _clock.now()
    chosen = [d for d in decisions if everything or is_active(d, now)]
    none = "nobody is stopped" if not everything else "no decision was ever made"
    own.print_list(chosen, lambda rows, on: _table(rows, now, on), none, as_json=as_json, plain=own.model)


@app.command("add")
def add_command(
    scope: Annotated[Scope, typer.Option(help="What the value is.")],
    value: Annotated[str, typer.Option(help="Whom to stop: an address, a network, a principal, ...")],
    reason: Why,
    ttl: Annotated[str, typer.Option(help="For how long: 10m, 8h, 7d. Every decision ends.")],
    config: Config = None,
    action: Annotated[Action, typer.Option(help="What gateways do to its requests.")] = Action.BLOCK,
    force: Annotated[bool, typer.Option("--force", help="Past the guards; it is recorded.")] = False,
    as_json: Json = False,
) -> None:
    """Stop somebody by hand. The same guards hold as for detectors."""
    _require(reason)
    seconds = duration(ttl)
    if not 0 < seconds <= LONGEST_S:
        raise typer.BadParameter("a decision lasts for a time: write 10m, 8h or 7d", param_hint="--ttl")
    key = _canonical(scope, value.strip())
    with own.own_log(config) as (settings, log):
        now = _clock.now()
        candidate = Candidate(secrets.token_hex(8), scope, key, now)
        refused = check(candidate, _known(settings, _read(log, settings), now))
        if refused is not None and refused[0] == "malformed":  # no gateway could obey it
            raise typer.BadParameter(refused[1], param_hint="--value")
        if refused is not None and not force:
            raise own.nothing(f"refused by {refused[0]}: {refused[1]}. With --force it is ordered all the same")
        forced = f" (forced past {refused[0]})" if refused is not None else ""
        decision = Decision(
            id=candidate.id,
            action=action,
            scope=scope,
            value=candidate.value,
            reason=clean(reason, 256) + forced,
            start=now,
            until=now + seconds,
            mode=Mode.BLOCK,
            actor=own.actor(),
        )
        _write(log, settings, [decision])
    if as_json:
        own.print_json(decision.model_dump(mode="json"))
    else:
        typer.echo(f"{decision.id}: {action} {accused(scope, decision.value)} until {own.when(decision.until)} UTC")


@app.command("remove")
def remove_command(
    decision_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the decision, or its beginning.")],
    reason: Why,
    config: Config = None,
) -> None:
    """Let somebody go. The same episode will not stop them again."""
    _require(reason)
    with own.own_log(config) as (settings, log):
        now = _clock.now()
        decision = own.one(_read(log, settings), decision_id, "decision", "`gatewatch decisions list --all`")
        if decision.removed is not None:
            raise own.nothing(f"{decision.id} was removed already, by {decision.removed_by}")
        _write(log, settings, [_removed(decision, now, reason)])
    typer.echo(f"{decision.id}: {accused(decision.scope, decision.value)} is let go")


@app.command("clear")
def clear_command(
    reason: Why,
    config: Config = None,
    everything: Annotated[bool, typer.Option("--all", help="Yes, all of them.")] = False,
) -> None:
    """Break the glass: let everybody go who is stopped now.

    New attacks are answered as before; to stop that too, set the detectors' mode to alert.
    """
    _require(reason)
    if not everything:
        raise typer.BadParameter("say --all: every active decision is removed", param_hint="--all")
    with own.own_log(config) as (settings, log):
        now = _clock.now()
        active = [d for d in _read(log, settings) if is_active(d, now)]
        if not active:
            raise own.nothing("nobody is stopped")
        _write(log, settings, [_removed(d, now, reason) for d in active])
    typer.echo(f"{len(active)} decisions removed: everybody is let go")


def is_active(decision: Decision, now: float) -> bool:
    """Whether a gateway stops somebody by it now."""
    return decision.removed is None and decision.mode is Mode.BLOCK and now < decision.until


def _read(log: Log, settings: Settings) -> list[Decision]:
    return _last(own.readable(own.in_topic(log, settings.kafka.topic("decisions")), records_io.read_decision))


def _last(decisions: Iterable[Decision]) -> list[Decision]:
    """Each decision as its last record says, by start; what was removed stays removed."""
    last: dict[str, Decision] = {}
    for decision in decisions:
        if decision.id not in last or last[decision.id].removed is None or decision.removed is not None:
            last[decision.id] = decision
    return sorted(last.values(), key=lambda d: (d.start, d.id))


def _write(log: Log, settings: Settings, decisions: list[Decision]) -> None:
    """Send orders, and wait until they are acknowledged.

    Raises:
        SendError: they are not; nothing may be relied on.
    """
    producer = log.producer()
    try:
        for decision in decisions:
            topic = settings.kafka.topic("decisions")
            producer.send(topic, records_io.write(decision), partition=0, key=decision.id.encode())
        producer.flush(own.FLUSH_S)
    finally:
        producer.close(flush=False)


def _removed(decision: Decision, now: float, reason: str) -> Decision:
    """The order to remove one. Without an offset: decide has not heard of it yet."""
    text = f"{decision.reason}; removed: {clean(reason, 256)}"
    gone = {"removed": now, "removed_by": own.actor(), "findings_offset": -1, "reason": text}
    return decision.model_copy(update=gone)


def _known(settings: Settings, decisions: list[Decision], now: float) -> Known:
    """What the guards look at: the settings, and the blocks of the last minute."""
    known = Known.of(settings)
    for decision in decisions:
        if decision.mode is Mode.BLOCK and abs(decision.start - now) < 60.0:
            known.breaker.add(decision.start)
    return known


def _canonical(scope: Scope, value: str) -> str:
    """Addresses as gateways compare them; what is no address is left to the guards."""
    network = parse_network(value) if scope in ADDRESSES else None
    if network is None:
        return value
    if scope is Scope.NETWORK:
        return str(network)
    if network.num_addresses > 1:
        raise typer.BadParameter(f"{network} is a network: say --scope network", param_hint="--value")
    return str(network.network_address)


def _require(reason: str) -> None:
    if not reason.strip():
        raise typer.BadParameter("say why", param_hint="--reason")


def _table(decisions: Sequence[Decision], now: float, on: Console) -> Table:
    rows = [
        (
            d.id, own.when(d.until), d.action.value, _left(d, now), own.shown(d.actor or d.detector or "unknown"),
            f"offence {d.offence}" if d.offence > 1 else "", own.shown(accused(d.scope, d.value)),
            own.shown(d.reason, 500),
        )
        for d in decisions
    ]  # fmt: skip
    return screen.listing(("id", "until (UTC)", "action", "left", "by", "again", "who", "why"), rows, on)


def _left(decision: Decision, now: float) -> str:
    if decision.removed is not None:
        return own.shown(f"removed by {decision.removed_by}")
    if decision.mode is not Mode.BLOCK:
        return decision.mode.value
    return span(decision.until - now) if decision.until > now else "ended"
