"""LLMDrift: the same questions to the March and the June snapshot of two models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from figures import NOT_SHIPPED, Figure, loader, native, replayed, shipped
from scipy import stats

TITLE = "LLMDrift (answers of GPT-3.5 and GPT-4, March and June 2023)"
ON = (
    "Prime and happy-number answers: model snapshot, answer, latency, tokens. A stream of one model name: the March "
    "answers of 14 days, by turns and again, then the June answers. Control: March answers all the way. Invented: the "
    "time (an answer in 20 s), 50 callers by turns, and `label` and `refusal`, which a gateway that reads answers "
    "would send ([Yes], [No], none)."
)
START, STEP_S, CALLERS = 1_772_409_600.0, 20.0, 50
BEFORE, AFTER = 60_480, 8_640  # two weeks, two days
MODELS = ("gpt-3.5-turbo", "gpt-4")
SETS = ("prime", "happynumber")


def run() -> list[Figure]:
    """The change found, and nothing found without one."""
    if not shipped("output_drift"):
        return [
            Figure("a change of the snapshot is found", NOT_SHIPPED, target="all"),
            Figure("alarms without a change", NOT_SHIPPED, target="0"),
        ]
    found, false, halves, delays, rule, missed = 0, 0, 0, [], 0, []
    pairs = [(data, model) for data in SETS for model in MODELS]
    for data, model in pairs:
        old, new = (list(_answers(data, model, month)) for month in ("03", "06"))
        rng = np.random.default_rng(4)
        half = rng.permutation(len(old))
        first, second = ([old[i] for i in part] for part in np.array_split(half, 2))
        told = _told(old, new, rng)
        if told is None:
            missed.append(f"{model} {data}")
        else:
            found += 1
            delays.append(told / 3600.0)
        false += _told(old, old, rng) is not None
        halves += _told(first, second, rng) is not None
        rule += _chi_square(old, new)
    return [
        Figure(
            what="a change of the snapshot is found",
            value=f"{found} of {len(pairs)}",
            target="all",
            met=found == len(pairs),
            published="LLMDrift itself compares answers by hand; no online figure",
            rule=f"chi-square of labels over all answers, p < 1e-4: {rule} of {len(pairs)}",
            note=f"median {np.median(delays):.1f} h" + (f"; missed: {', '.join(missed)}" if missed else "")
            if delays
            else "missed: " + ", ".join(missed),
        ),
        Figure(
            what="alarms without a change (the same snapshot all the way)",
            value=f"{false} of {len(pairs)}",
            target="0",
            met=false == 0,
        ),
        Figure(
            what="alarms where the questions change (one half of a snapshot's answers, then the other)",
            value=f"{halves} of {len(pairs)}",
            note="halves of 250 or 500 answers, each told many times over, truly differ: by some points in each label",
        ),
    ]


def _answers(data: str, model: str, month: str) -> Iterator[dict[str, Any]]:
    for row in loader().rows(f"llmdrift_{data}"):
        name = row["model"].partition("/")[2]
        if not name.startswith(model) or f"-{month}" not in name:
            continue
        answer = row["answer"].lower()
        label = "yes" if "[yes]" in answer else "no" if "[no]" in answer else "none"
        yield {
            "tokens_out": float(row["answer_token"] or 0) or len(answer) / 4.0,
            "latency_ms": 1000.0 * float(row["latency"] or 0),
            "shape": {"label": label, "refusal": "sorry" in answer or "as an ai" in answer, "finish_reason": "stop"},
        }


def _told(old: Sequence[dict[str, Any]], new: Sequence[dict[str, Any]], rng: np.random.Generator) -> float | None:
    """Seconds from the change to the first finding, ``None`` where there is none (or one came before it)."""
    picks = [old[i] for i in rng.integers(0, len(old), BEFORE)] + [new[i] for i in rng.integers(0, len(new), AFTER)]
    events = [
        {
            **pick,
            "ts": START + STEP_S * number,
            "principal": f"caller-{number % CALLERS}",
            "model": "the-model",
            "endpoint": "/v1/chat/completions",
            "status": 200,
        }
        for number, pick in enumerate(picks)
    ]
    change = START + STEP_S * BEFORE
    done = replayed(native(events))
    times = [f.ts for f in done.findings if f.detector == "output_drift" and (f.warm or not f.learned)]
    late = [ts for ts in times if ts >= change]
    return late[0] - change if late else None


def _chi_square(old: Sequence[dict[str, Any]], new: Sequence[dict[str, Any]]) -> bool:
    table = np.array(
        [[sum(a["shape"]["label"] == kind for a in rows) for kind in ("yes", "no", "none")] for rows in (old, new)]
    )
    table = table[:, table.sum(axis=0) > 0]
    return bool(stats.chi2_contingency(table).pvalue < 1e-4) if table.shape[1] > 1 else False
