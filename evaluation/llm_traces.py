"""An hour each of two real LLM services, and a fortnight of image generation: benign, and bursty."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from figures import DAY_S, Figure, loader, native, replayed, sent

TITLE = "Honest model traffic: Azure, Mooncake, Alibaba GenAI"
ON = (
    "azure_conv (19,366 calls in 57 min), mooncake_conversation (12,031 in 59 min): they name no caller. Invented: one "
    "principal, or 20 by turns, or none; status 200; the date. genai26_first_half (9,930 jobs of 12 days) names "
    "principals; job status SUCCEED became 200, everything else 500. All of it is taken as benign."
)

WINDOW = 60  # bins that the naive alarm looks back on


def run() -> list[Figure]:
    """Alerts on what is no attack."""
    return [*_hours(), _fortnight()]


def _hours() -> Iterator[Figure]:
    for name in ("azure_conv", "mooncake_conversation"):
        rows = list(loader().events(name))
        for principals in (0, 1, 20):
            alerts = sent(replayed(native(_named(rows, principals, 1.7e9 * (name != "azure_conv")))))
            ts = np.array([row["ts"] for row in rows])
            tokens = np.array([row["bytes_in"] + row["bytes_out"] for row in rows], np.float64)
            naive = f"calls {six_sigma(ts)}, tokens {six_sigma(ts, 1.0, tokens)}"
            yield Figure(
                what=f"{name}, {principals or 'no'} principal{'s' if principals != 1 else ''}: alerts in an hour",
                value=str(len(alerts)),
                target="<= 1",
                met=len(alerts) <= 1,
                rule=f"6 sigma over seconds: {naive} alarms" if principals == 1 else "",
                note=", ".join(f"{a.detector} {a.reason} {a.key}" for a in alerts),
            )


def _fortnight() -> Figure:
    events = [
        {
            "ts": row["ts"],
            "principal": row["principal"],
            "endpoint": row["endpoint"],
            "model": row["model"],
            "status": 200 if row["status"] == "SUCCEED" else 500,
            "latency_ms": row["latency_s"] * 1000.0,
        }
        for row in loader().events("genai26_first_half")
    ]
    alerts = sent(replayed(native(events)))
    days = {(event["principal"], int(event["ts"] // DAY_S)) for event in events}
    by_day: dict[str, list[float]] = {}
    for event in events:
        by_day.setdefault(event["principal"], []).append(event["ts"])
    naive = sum(six_sigma(np.array(times), 3600.0) for times in by_day.values())
    return Figure(
        what="genai26: alerts a principal-day",
        value=f"{len(alerts) / len(days):.4f} ({len(alerts)} in {len(days)})",
        target="<= 0.02",
        met=len(alerts) <= 0.02 * len(days),
        rule=f"6 sigma over each principal's hours: {naive / len(days):.4f}",
        note=", ".join(sorted({f"{a.detector} {a.reason}" for a in alerts})),
    )


def six_sigma(ts: npt.NDArray[np.float64], bin_s: float = 1.0, weights: npt.NDArray[np.float64] | None = None) -> int:
    """Bins whose count (or sum of weights) is 6 deviations above the mean of the 60 before: the naive alarm."""
    counts = np.bincount(((ts - ts.min()) / bin_s).astype(np.int64), weights).astype(np.float64)
    if len(counts) <= WINDOW:
        return 0
    before = np.lib.stride_tricks.sliding_window_view(counts, WINDOW)[:-1]
    return int((counts[WINDOW:] > before.mean(axis=1) + 6 * np.maximum(before.std(axis=1), 1e-6)).sum())


def _named(rows: list[dict[str, Any]], principals: int, shift_s: float) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(rows):
        yield {
            "ts": row["ts"] + shift_s,
            "tokens_in": row["bytes_in"],
            "tokens_out": row["bytes_out"],
            "status": 200,
            "principal": f"customer-{number % principals}" if principals else None,
        }
