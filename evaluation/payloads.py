"""Request values and bodies with and without injections: HttpParams and ATRDF."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import numpy as np
from figures import NOT_SHIPPED, Figure, loader, native, replayed, shipped

from gatewatch.records import Scope
from gatewatch.settings import Settings, parse
from gatewatch.tune.evaluate_stats import share, tpr_at_fpr

TITLE = "Payloads: HttpParams and ATRDF"
ON = (
    "HttpParams: each value is the body of a request to one endpoint. ATRDF: the segments of the path, the query, the "
    "cookie and four headers are, as a gateway that logs them has it. Attacks are drawn down to the stated share "
    "and mixed in at random. Invented: who called (each request from an address of its own, or 500 authenticated "
    "callers by turns), one request in 30 s, status 200. Scored by payload_drift's own findings (nats), with `alpha: "
    "0.02` so that the curve has points around an FPR of 1e-3; learning as shipped. The first fifth of the events only "
    "teaches, and holds no attack. Each partition learns an endpoint from its own callers and from the few bodies of "
    "principals that ingest shows to all: with twelve, each asks for 20 of them before it speaks. Twelve were the "
    "default when this was chosen; today's four are not measured here."
)
START = 1_772_409_600.0
FPR, CALLERS, STEP_S = 1e-3, 500, 30.0
PUBLISHED = {"HttpParams": "CNN, supervised: .99 accuracy on balanced data", "ATRDF": "none for single requests"}
HEADERS = ("Accept-Encoding", "Sec-Fetch-Dest", "Sec-Fetch-Site", "Set-Cookie")
Labelled = tuple[Any, str]  # body, kind of attack or ""


def run() -> list[Figure]:
    """TPR at FPR 1e-3, in all and for each kind of attack; then as twelve partitions have it."""
    if not shipped("payload_drift"):
        return [Figure(f"{name}: TPR at FPR {FPR:g}", NOT_SHIPPED) for name in PUBLISHED]
    params, atrdf = list(_params()), list(_atrdf())
    return [
        *_figures("HttpParams", params, 0.03),
        *_figures("ATRDF", atrdf, 0.02),
        next(_figures("HttpParams", params, 0.03, partitions=12, callers=CALLERS)),
        next(_figures("ATRDF", atrdf, 0.02, partitions=12, callers=CALLERS)),
    ]


def _figures(
    name: str, rows: Sequence[Labelled], rate: float, *, partitions: int = 1, callers: int = 0
) -> Iterator[Figure]:
    mixed = thinned(rows, rate, np.random.default_rng(3))
    kinds = np.array([kind for _, kind in mixed])
    scores = _scores([body for body, _ in mixed], partitions, callers)
    marks = np.array([_marks(body) for body, _ in mixed], np.float64)
    late = np.arange(len(mixed)) >= len(mixed) // 5
    benign, hostile = late & (kinds == ""), late & (kinds != "")
    tpr, threshold = tpr_at_fpr(scores[benign], scores[hostile], FPR)
    rule, rule_threshold = tpr_at_fpr(marks[benign], marks[hostile], FPR)
    interval = share(round(tpr * hostile.sum()), int(hostile.sum()))
    shown = f", {partitions} partitions, {callers} callers" if callers else ""
    yield Figure(
        what=f"{name}, {100 * rate:.0f} % attacks{shown}: TPR at FPR {FPR:g}",
        value=f"{tpr:.3f} ({interval.low:.2f} - {interval.high:.2f}), {hostile.sum()} attacks, {benign.sum()} benign",
        target=">= .90",
        met=tpr >= 0.90,
        published=PUBLISHED[name],
        rule=f"number of marks ('\"<>;()|&=%): {rule:.3f}",
        note=f"at {threshold:.1f} nats",
    )
    for kind in sorted(set(kinds[hostile])):
        mine = hostile & (kinds == kind)
        yield Figure(
            what=f"{name}, {kind}",
            value=f"{(scores[mine] > threshold).mean():.2f} of {mine.sum()}",
            rule=f"{(marks[mine] > rule_threshold).mean():.2f}",
        )


def _scores(bodies: Sequence[Any], partitions: int, callers: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Nats of what payload_drift says of each event, 0 where it says nothing."""
    events = [
        {
            "ts": START + STEP_S * number,
            "principal": f"caller-{number % callers}" if callers else None,
            "ip": None if callers else f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}",
            "endpoint": "/search",
            "method": "POST",
            "status": 200,
            "body": body,
        }
        for number, body in enumerate(bodies)
    ]
    options = {"alpha": 0.02, "keys_total": 65_536}
    tree = {"kafka": {"partitions": partitions}, "detectors": {"payload_drift": options}}
    done = replayed(native(events), settings=parse(tree, Settings))
    scores = np.zeros(len(events))
    for finding in done.findings:
        if finding.detector == "payload_drift" and finding.scope in {Scope.PRINCIPAL, Scope.IP}:
            at = int(finding.sample.split("-")[-2])
            scores[at] = max(scores[at], finding.nats)
    return scores


def thinned(rows: Sequence[Labelled], rate: float, rng: np.random.Generator) -> list[Labelled]:
    """A fifth without attacks, then the rest with attacks drawn down to ``rate``; both in random order."""
    benign = [row for row in rows if not row[1]]
    hostile = [row for row in rows if row[1]]
    benign = [benign[i] for i in rng.permutation(len(benign))]
    first, rest = benign[: len(benign) // 4], benign[len(benign) // 4 :]
    keep = min(len(hostile), round(rate / (1 - rate) * len(rest)))
    both = rest + [hostile[i] for i in rng.choice(len(hostile), keep, replace=False)]
    return first + [both[i] for i in rng.permutation(len(both))]


def _params() -> Iterator[Labelled]:
    for row in loader().rows("httpparams_train"):
        yield row["payload"], "" if row["attack_type"] == "norm" else row["attack_type"]


def _atrdf() -> Iterator[Labelled]:
    for row in loader().events("atrdf_first60"):
        request = row["request"]
        url = urlsplit(request["url"])
        values = {
            "path": [unquote(part) for part in url.path.split("/")[1:]],
            "query": dict(parse_qsl(url.query, keep_blank_values=True)),
            "cookie": request["headers"].get("Cookie"),
            "headers": {name: request["headers"].get(name) for name in HEADERS},
        }
        yield {name: value for name, value in values.items() if value}, request.get("Attack_Tag") or ""


def _marks(body: Any) -> int:
    text = body if isinstance(body, str) else " ".join(_leaves(body))
    return sum(text.count(mark) for mark in "'\"<>;()|&=%")


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _leaves(inner)
    elif value is not None:
        yield str(value)
