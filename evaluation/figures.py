"""What all evaluations share: a figure, the data beside the checkout, events through the flow."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from gatewatch.flow import Flow
from gatewatch.records import Alert, Mode
from gatewatch.registry import names
from gatewatch.settings import Settings, Source
from gatewatch.tune.replay import LINES_PER_CHUNK, Replayed

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("GATEWATCH_DATA", ROOT.parent / "shared" / "data"))
DAY_S = 86400.0
NOT_SHIPPED = "not shipped"


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the page.

    Attributes:
        what: what was counted.
        value: as it is shown.
        target: what it was to be, empty where nothing was promised.
        met: whether it is; ``None`` without a target.
        published: the best published figure, and whose.
        rule: what the simplest rule reaches on the same data, computed in the same run.
        note: what a reader must know, misses first.
    """

    what: str
    value: str
    target: str = ""
    met: bool | None = None
    published: str = ""
    rule: str = ""
    note: str = ""


def loader() -> ModuleType:
    """The reader that comes with the data.

    Raises:
        FileNotFoundError: the data is not beside this checkout.
    """
    if not DATA.is_dir():
        raise FileNotFoundError(f"no evaluation data at {DATA}: set GATEWATCH_DATA to its folder")
    spec = importlib.util.spec_from_file_location("evaluation_data", DATA / "load.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def replayed(values: Sequence[bytes], fmt: str = "native", settings: Settings | None = None) -> Replayed:
    """Values through the whole flow, as `gatewatch replay` does with a file."""
    flow = Flow(settings or Settings(), Source(topic="evaluation", format=fmt))
    done = Replayed()
    chunks = [values[i : i + LINES_PER_CHUNK] for i in range(0, len(values), LINES_PER_CHUNK)]
    for outcome in (*(flow.feed(chunk) for chunk in chunks), flow.finish()):
        done.events += outcome.events
        done.findings += outcome.findings
        done.alerts += outcome.alerts
        done.decisions += outcome.decisions
        done.dead += [msgspec.to_builtins(letter) for letter in outcome.dead]
    return done


def native(rows: Iterable[Mapping[str, Any]]) -> list[bytes]:
    """Native events, one a value; absent fields are left out."""
    encode = msgspec.json.Encoder().encode
    return [encode({name: value for name, value in row.items() if value is not None}) for row in rows]


def sent(done: Replayed) -> list[Alert]:
    """Alerts that people would have got, each as it stood at the end."""
    return [alert for alert in done.last_alerts() if alert.mode is not Mode.SHADOW]


def shipped(detector: str) -> bool:
    """Whether there is a detector of that name."""
    return detector in names()


def of(part: int, whole: int) -> str:
    """A share, with what it is a share of.

    >>> of(3, 4)
    '3 of 4 (75 %)'
    """
    return f"{part} of {whole} ({100 * part / whole:.0f} %)" if whole else "0 of 0"
