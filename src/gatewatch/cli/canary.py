"""``gatewatch canary``: does every hop still work, from the gateway to a block and back."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable
from contextlib import ExitStack, closing
from dataclasses import asdict
from typing import Annotated

import structlog
import typer
from rich.table import Table

from gatewatch import settings as settings_module
from gatewatch.canary.run import Canary, Hop
from gatewatch.cli import own, screen
from gatewatch.cli.options import Config, Json
from gatewatch.clock import SystemClock
from gatewatch.errors import LogError
from gatewatch.log import open_log
from gatewatch.metrics import Metrics
from gatewatch.observe.http import serve
from gatewatch.observe.logs import configure
from gatewatch.settings import Settings
from gatewatch.signals import Stop

_LOOK_S = 0.2  # how soon a signal is answered
_log = structlog.get_logger("gatewatch.canary")


def command(
    config: Config = None,
    once: Annotated[
        bool, typer.Option("--once", help="One probe and a table; exit code 1 if a hop is silent.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Probe your own endpoint (`canary.url`) on a schedule, and measure each hop behind it.

    A hop that is silent is an error in the log and `gatewatch_canary_silent`, on which the Prometheus rules page: not
    on Gatewatch's own alerts, which may be what is broken.
    """
    settings = settings_module.load(config)
    with ExitStack() as opened:
        log = opened.enter_context(closing(open_log(settings.kafka)))
        canary = opened.enter_context(closing(Canary(log, settings, SystemClock(), f"canary-{socket.gethostname()}")))
        if once:
            _once(list(canary.probe()), as_json=as_json)
        else:
            _loop(canary, settings)


def _once(hops: list[Hop], *, as_json: bool) -> None:
    if as_json:
        own.print_json([asdict(hop) for hop in hops])
    else:
        table = Table("hop", "seconds", "", show_edge=False)
        for hop in hops:
            table.add_row(hop.name, "-" if hop.seconds is None else f"{hop.seconds:.2f}", hop.why)
        screen.console().print(table)
    if any(hop.seconds is None for hop in hops):
        raise typer.Exit(own.NOTHING)


def _loop(canary: Canary, settings: Settings) -> None:
    assert settings.canary is not None
    metrics = Metrics()
    configure(settings.logging, on_drop=metrics.log_line_dropped)
    stop = Stop().on_signals()
    clock, pause = SystemClock(), threading.Event()  # never set: a wait
    with ExitStack() as opened:
        if settings.metrics.address[1]:
            opened.callback(serve(settings.metrics, metrics, healthy=lambda: True, ready=lambda: True).close)
        next_at = clock.monotonic()
        while not stop.asked:
            if clock.monotonic() < next_at:
                pause.wait(_LOOK_S)
                continue
            next_at = clock.monotonic() + settings.canary.every
            try:
                _report(canary.probe(), metrics)
            except LogError as error:
                metrics.canary("kafka", None)
                _log.error("the canary cannot ask Kafka", error=str(error))


def _report(hops: Iterable[Hop], metrics: Metrics) -> None:
    metrics.canary("kafka", 0.0)
    for hop in hops:
        metrics.canary(hop.name, hop.seconds)
        if hop.seconds is None:
            _log.error("a hop of the canary is silent", hop=hop.name, why=hop.why)
        else:
            _log.info("hop", hop=hop.name, seconds=round(hop.seconds, 3))
