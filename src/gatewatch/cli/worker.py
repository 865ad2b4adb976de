"""``gatewatch worker``: the roles, on Kafka."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gatewatch import settings as settings_module
from gatewatch.cli.options import duration
from gatewatch.registry import active, in_lane, load_all
from gatewatch.roles import Role, run
from gatewatch.supervise import supervise


def command(
    config: Annotated[Path | None, typer.Option("--config", "-c", help="Settings file.")] = None,
    role: Annotated[Role | None, typer.Option("--role", "-r", help="Run only this role; default all of them.")] = None,
    processes: Annotated[
        int, typer.Option("--processes", "-p", min=1, max=64, help="Processes of the role (ingest, detect).")
    ] = 1,
    index: Annotated[
        int, typer.Option(min=0, help="Number of this worker on its host: part of its stable id in the group.")
    ] = 0,
    warm_from: Annotated[
        float | None,
        typer.Option(
            parser=duration,
            metavar="DURATION",
            help="A new installation learns from so much history first (7d) and says nothing of it.",
        ),
    ] = None,
) -> None:
    """Read events from Kafka, detect, decide, notify, enforce. Ctrl-C and SIGTERM stop cleanly.

    Without --role every role that is configured runs as a child process and is started again when it ends by accident;
    --processes then counts detect processes. Detectors in plain Python run as a role of their own, detect-slow, where
    there are any.
    """
    settings = settings_module.load(config)
    if role is not None and processes == 1:
        raise typer.Exit(run(role, settings, index=index, warm_s=warm_from))
    everything = [(Role.INGEST, 1), (Role.DETECT, processes), (Role.DECIDE, 1)]
    everything += [(Role.DETECT_SLOW, 1)] * bool(in_lane(active(load_all(), settings.detectors), "slow"))
    everything += [(Role.NOTIFY, 1)] * (settings.notify is not None)
    everything += [(Role.ENFORCE, 1)] * (settings.enforce is not None)
    roles = everything if role is None else [(role, processes)]
    raise typer.Exit(supervise(roles, settings, warm_s=warm_from))
