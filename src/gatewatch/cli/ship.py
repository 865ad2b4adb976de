"""``gatewatch ship``: a log file to a topic, for gateways without a Kafka sink."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from gatewatch import settings as settings_module
from gatewatch.cli.options import Config
from gatewatch.clock import SystemClock
from gatewatch.log import open_log
from gatewatch.ship.place import PlaceFile
from gatewatch.ship.shipper import Shipper
from gatewatch.signals import Stop


def command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Log file; it need not exist yet.")],
    topic: Annotated[str, typer.Option("--to", help="Topic that gets each line as a value.")],
    config: Config = None,
    state: Annotated[
        Path | None, typer.Option("--state", help="Keeps how far it came.", show_default="FILE.TOPIC.place")
    ] = None,
    from_end: Annotated[bool, typer.Option("--from-end", help="The first time, begin at the file's end.")] = False,
) -> None:
    """Send each line of a growing log file to a topic, through rotations, restarts and failures of the broker.

    Ctrl-C and SIGTERM stop it cleanly; started again, it goes on where the last line was acknowledged.
    """
    settings = settings_module.load(config)
    stop = Stop().on_signals()
    place = PlaceFile(state or file.with_name(f"{file.name}.{topic}.place"))
    with closing(open_log(settings.kafka)) as log:
        shipper = Shipper(log, topic, file, place, SystemClock(), from_end=from_end)
        shipper.run(lambda: stop.asked)
    typer.echo(f"{shipper.sent:,} lines sent, {shipper.refused:,} left out", err=True)
