"""A report as JSON, as a table, as pictures."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from gatewatch.tune.evaluate import ANY, FPR, DetectorReport, Report
from gatewatch.tune.evaluate_stats import Interval


def as_json(report: Report) -> dict[str, Any]:
    """Everything but the curve; what is not known is null."""
    row = _plain(asdict(report))
    assert isinstance(row, dict)
    for detector in row["detectors"]:
        del detector["curve"]
    return row


def tables(report: Report) -> Iterator[Table]:
    """Two tables: each detector and its price, then what was caught."""
    price = Table("detector", "alerts", "false", "false a day", "false a key-day", "precision", f"TPR at FPR {FPR:g}")
    for d in report.detectors:
        numbers = (interval(d.false_per_day), interval(d.false_per_key_day, 5), interval(d.precision))
        price.add_row(escape(d.detector), str(d.alerts), str(d.false_alarms), *numbers, number(d.tpr))
    yield price
    caught = Table("attack", "detector", "caught", "recall", "first alert after", "and events", f"TPR at FPR {FPR:g}")
    for name, detector in _by_kind(report):
        kind = next(k for k in detector.kinds if k.kind == name)
        caught.add_row(
            escape(name),
            escape(detector.detector),
            f"{kind.caught} of {kind.attacks}",
            interval(kind.recall),
            f"{kind.after_s.value:.0f} s" if kind.caught else "missed",
            f"{kind.after_events.value:.0f}" if kind.caught else "",
            number(kind.tpr),
        )
    yield caught


def plots(report: Report, out: Path) -> list[Path]:
    """Write ``tpr-fpr.png`` and ``delay.png``; none without matplotlib (the extra ``plots``)."""
    if importlib.util.find_spec("matplotlib") is None:
        return []
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra, and slow to import

    out.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.add_subplot()
    for d in report.detectors:
        fpr, tpr = d.curve
        if len(fpr):
            least = 0.5 / max(report.events, 1)  # where no benign event passes: log axes have no 0
            axes.step([*np.maximum(fpr, least), 1.0], [*tpr, tpr[-1]], where="post", label=d.detector)
    axes.axvline(FPR, color="0.7", linewidth=0.8)
    axes.set(xscale="log", xlabel="false-positive rate (benign events)", ylabel="true-positive rate", ylim=(0, 1.02))
    axes.legend(loc="lower right")
    figure.savefig(out / "tpr-fpr.png", dpi=130)

    figure = Figure(figsize=(6.4, 0.9 + 0.3 * max(report.attacks, 1)), layout="constrained")
    axes = figure.add_subplot()
    everything = next(d for d in report.detectors if d.detector == ANY)
    names = [c.attack for c in everything.caught]
    axes.barh(names, [c.after_s or 0.0 for c in everything.caught])
    for y, c in enumerate(everything.caught):
        axes.text(0.0, y, " missed" if c.after_s is None else f" {c.after_s:.0f} s", va="center")
    axes.set(xlabel="seconds from first event to first alert")
    axes.invert_yaxis()
    figure.savefig(out / "delay.png", dpi=130)
    return [out / "tpr-fpr.png", out / "delay.png"]


def number(value: float, digits: int = 3) -> str:
    """A figure, or nothing where there is none.

    >>> number(0.12345), number(float("nan"))
    ('0.123', '')
    """
    return "" if math.isnan(value) else f"{value:.{digits}f}"


def interval(found: Interval, digits: int = 2) -> str:
    """A figure with its bounds.

    >>> interval(Interval(0.5, 0.25, 0.75))
    '0.50 (0.25 - 0.75)'
    """
    if math.isnan(found.low):
        return number(found.value, digits)
    return f"{found.value:.{digits}f} ({found.low:.{digits}f} - {found.high:.{digits}f})"


def _by_kind(report: Report) -> Iterator[tuple[str, DetectorReport]]:
    """Each kind with the detectors that caught one; with ``any`` where none did."""
    everything = next(d for d in report.detectors if d.detector == ANY)
    for kind in everything.kinds:
        others = [d for d in report.detectors if d.detector != ANY]
        found = [d for d in others if any(k.kind == kind.kind and k.caught for k in d.kinds)]
        for detector in found or [everything]:
            yield kind.kind, detector


def _plain(value: Any) -> Any:
    """NaN as null, arrays left as they are."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value
