"""``gatewatch simulate``: benign traffic and labelled attacks, into a file or a topic."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import numpy as np
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from gatewatch import settings as settings_module
from gatewatch.cli import screen
from gatewatch.cli.options import Config, Seed, duration, moment
from gatewatch.clock import Clock, SystemClock
from gatewatch.errors import ConfigError
from gatewatch.settings import Settings
from gatewatch.simulate import labels
from gatewatch.simulate.scenario import SCENARIOS, Simulation, Window
from gatewatch.simulate.sinks import FileSink, Sink, TopicSink

# A Tuesday morning: files do not depend on when they were made.
_FILE_START = "2026-03-03T06:00:00+00:00"
_PACE_S = 0.1  # --realtime sends ten times a second


def command(
    to: Annotated[str, typer.Option("--to", help="`kafka`, a file (.jsonl, .jsonl.gz, .jsonl.zst), or - for stdout.")],
    scenario: Annotated[str, typer.Option("--scenario", "-s", help=f"One of: {', '.join(SCENARIOS)}.")] = "mixed",
    rate: Annotated[float, typer.Option("--rate", help="Benign events a second, on average.")] = 50.0,
    length_s: Annotated[
        float, typer.Option("--duration", "-d", parser=duration, metavar="TIME", help="Event time: 90, 10m, 8h, 7d.")
    ] = 3600.0,
    config: Config = None,
    topic: Annotated[str | None, typer.Option("--topic", help="Default: the first source of the settings.")] = None,
    bundle: Annotated[int, typer.Option("--bundle", min=1, max=10_000, help="Events in one Kafka value.")] = 1,
    labels_file: Annotated[
        Path | None, typer.Option("--labels", help="Write which events are an attack's (JSON lines).")
    ] = None,
    seed: Seed = 1,
    start: Annotated[
        float | None,
        typer.Option(
            "--start", parser=moment, metavar="ISO", help=f"Default: {_FILE_START[:16]}; Kafka: so that it ends now."
        ),
    ] = None,
    realtime: Annotated[bool, typer.Option("--realtime", help="Send each event when its time has come.")] = False,
) -> None:
    """Make benign traffic and labelled attacks, into a file or a topic.

    The same scenario, rate, duration, start and seed give the same events. Addresses, names and networks are reserved
    ones that belong to nobody.
    """
    clock = SystemClock()
    if start is None:
        start = _default_start(to, clock, length_s, realtime=realtime)
    simulation = Simulation(scenario, rate=rate, duration_s=length_s, start=start, seed=seed)
    sent = hostile = 0
    with ExitStack() as stack:
        sink = stack.enter_context(closing(_open(stack, to, settings_module.load(config), topic, bundle)))
        side = stack.enter_context(labels_file.open("wb")) if labels_file else None
        advance = stack.enter_context(_progress(simulation))
        if side is not None:
            labels.write(side, [simulation.header, *simulation.episodes])
        for window in paced(simulation.windows(), clock, realtime=realtime):
            sink.write(window.values)
            hostile += _label(simulation, window, side)
            sent += len(window.values)
            advance(window.stop, sent)
    names = ", ".join(episode.attack for episode in simulation.episodes) or "none"
    typer.echo(f"{sent:,} events to {to}, {hostile:,} of them hostile; attacks: {names}", err=True)


def _default_start(to: str, clock: Clock, length_s: float, *, realtime: bool) -> float:
    if realtime:
        return clock.now()
    return clock.now() - length_s if to == "kafka" else moment(_FILE_START)


def _open(stack: ExitStack, to: str, settings: Settings, topic: str | None, bundle: int) -> Sink:
    if to != "kafka":
        return FileSink(to)
    if topic is None:
        if not settings.sources:
            raise ConfigError("sources", "name the topic to write to: --topic, or `sources:` in the settings file")
        topic = settings.sources[0].topic
    from gatewatch.log import open_log  # noqa: PLC0415 - a file needs no Kafka client

    return TopicSink(stack.enter_context(closing(open_log(settings.kafka))), topic, bundle=bundle)


def paced(windows: Iterator[Window], clock: Clock, *, realtime: bool) -> Iterator[Window]:
    """The windows; with ``realtime`` in slices of a tenth of a second, each at its time."""
    if not realtime:
        yield from windows
        return
    ahead: float | None = None
    for window in windows:
        ahead = window.start - clock.now() if ahead is None else ahead
        for piece in sliced(window, _PACE_S):
            time.sleep(max(0.0, piece.stop - ahead - clock.now()))
            yield piece


def sliced(window: Window, length_s: float) -> Iterator[Window]:
    """A window in pieces of ``length_s``."""
    edges = np.append(np.arange(window.start, window.stop, length_s), window.stop)
    cuts = [0, *np.searchsorted(window.rows["ts"], edges[1:-1]).tolist(), len(window.rows)]
    for low, high, a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), cuts[:-1], cuts[1:], strict=True):
        yield Window(low, high, window.rows[a:b], window.request_ids[a:b], window.values[a:b])


def _label(simulation: Simulation, window: Window, side: BinaryIO | None) -> int:
    """Write the labels of a window; how many there are."""
    found = simulation.labels(window)
    if side is not None and found:
        labels.write(side, found)
    return len(found)


@contextmanager
def _progress(simulation: Simulation) -> Iterator[Callable[[float, int], None]]:
    """A bar over event time, where somebody looks."""
    console = screen.console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("simulating", total=simulation.stop - simulation.start)
        yield lambda now, sent: bar.update(task, completed=now - simulation.start, description=f"{sent:,} events")
