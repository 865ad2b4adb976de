"""Options that several commands share, so that they are spelled the same everywhere."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from gatewatch.records import Severity
from gatewatch.settings import parse_duration

Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Settings file.", show_default="built-in settings", envvar="GATEWATCH_CONFIG"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
# Of lists of alerts and incidents
Since = Annotated[
    str | None, typer.Option(help="Only those with a finding in the last 90, 10m, 8h, 7d (of the data, with --from).")
]
AtLeast = Annotated[Severity | None, typer.Option(help="Only this severity and worse.")]
OpenOnly = Annotated[bool, typer.Option("--open", help="Only those that go on.")]
Shadow = Annotated[bool, typer.Option("--shadow", help="Also what was recorded and not sent.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same events.")]


def duration(text: str) -> float:
    """Seconds of ``90``, ``10m``, ``8h``, ``7d``.

    >>> duration("8h")
    28800.0
    """
    try:
        return float(str(parse_duration(text)))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def moment(text: str) -> float:
    """Epoch seconds of an ISO date and time; without a zone it is UTC.

    >>> moment("2026-03-03T06:00")
    1772517600.0
    """
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no ISO date and time, such as 2026-03-03T06:00") from None
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()


def ending(text: str, now: float) -> float:
    """When something ends: so long from ``now`` (``8h``, ``7d``), or an ISO date and time.

    >>> ending("10m", 1000.0), ending("2026-03-03T06:00", 1000.0)
    (1600.0, 1772517600.0)
    """
    try:
        return now + duration(text)
    except typer.BadParameter:
        return moment(text)
