"""A scanner's log, an ordinary site's log, and the one laid over the other."""

from __future__ import annotations

import gzip
import re
from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
from figures import DATA, Figure, replayed, sent

from gatewatch.tune.evaluate_stats import tpr_at_fpr

TITLE = "Web scanner and ordinary web site (access logs)"
ON = (
    "scan_acunetix (6,366 requests of one scanner) and web_benign (the first 5,000 requests of a site, crawlers "
    "included), in format `combined`. Overlay: the scan's first 10 minutes, its times shifted onto the middle of "
    "the benign log, its address kept. Invented in it: the time of the attack, and that both hit the same site."
)
SCANNER = "192.168.4.25"
STAMP = re.compile(rb"\[([^\]]+)\]")
FORM = "%d/%b/%Y:%H:%M:%S %z"
RULE_PER_MINUTE = 500  # Google Cloud Armor's default limit
OVERLAY_S = 600.0


def run() -> list[Figure]:
    """Alone, alone, together."""
    scan = _lines("scan_acunetix")
    site = _lines("web_benign_first5000")
    quiet = sent(replayed(site, "combined"))
    loud = sent(replayed(scan, "combined"))
    both, hostile = overlay(site, scan)
    mixed = replayed(both, "combined")
    about = [a for a in sent(mixed) if a.key == SCANNER]
    others = [a for a in sent(mixed) if a.key not in {SCANNER, "192.168.4.0/24"}]
    finds = [f.ts for f in mixed.findings if f.key == SCANNER]
    start = min(_when(line) for line in scan)
    shift = hostile - start
    return [
        Figure(
            what="scanner accused",
            value="yes" if SCANNER in {a.key for a in loud} else "missed",
            target="yes",
            met=SCANNER in {a.key for a in loud},
            rule=f"{RULE_PER_MINUTE} requests in a minute (Cloud Armor's default): {_rule(scan)}",
            note=", ".join(sorted({f"{a.detector}: {a.title}" for a in loud})),
        ),
        Figure(
            what="alerts on the ordinary site",
            value=str(len(quiet)),
            target="<= 2",
            met=len(quiet) <= 2,
            rule=f"{RULE_PER_MINUTE} requests in a minute: {_rule(site)}",
            note=", ".join(f"{a.detector} {a.reason} {a.key}" for a in quiet),
        ),
        Figure(
            what="overlay: scanner accused, after its first request",
            value=f"{min(finds) - (start + shift):.0f} s" if about and finds else "missed",
            target="accused",
            met=bool(about),
            rule=f"a source's requests so far in the minute: TPR {_tpr_of_counts(both):.2f} at FPR 1e-3",
            note=", ".join(sorted({f"{a.detector}: {a.title}" for a in about})),
        ),
        Figure(
            what="overlay: alerts about anybody else",
            value=str(len(others)),
            target="<= 2",
            met=len(others) <= 2,
            note=", ".join(f"{a.detector} {a.reason} {a.key}" for a in others),
        ),
    ]


def overlay(site: list[bytes], scan: list[bytes]) -> tuple[list[bytes], float]:
    """The scan's beginning moved into the middle of the site's log, in time order; and when it starts there."""
    times = [_when(line) for line in site]
    start = min(_when(line) for line in scan)
    at = sorted(times)[len(times) // 2]
    moved = [_moved(line, at - start) for line in scan if _when(line) <= start + OVERLAY_S]
    lines = sorted((*zip(times, site, strict=True), *((_when(line), line) for line in moved)), key=lambda pair: pair[0])
    return [line for _, line in lines], at


def _lines(name: str) -> list[bytes]:
    with gzip.open(DATA / f"{name}.log.gz", "rb") as file:
        return file.read().splitlines()


def _when(line: bytes) -> float:
    found = STAMP.search(line)
    return _time(found[1]).timestamp() if found else 0.0


def _time(stamp: bytes) -> datetime:
    return datetime.strptime(stamp.decode(), FORM).astimezone(UTC)


def _moved(line: bytes, by_s: float) -> bytes:
    def later(found: re.Match[bytes]) -> bytes:
        when = _time(found[1]) + timedelta(seconds=by_s)
        return b"[" + when.strftime(FORM).encode() + b"]"

    return STAMP.sub(later, line, count=1)


def _rule(lines: list[bytes]) -> str:
    """Whom the simplest rule accuses: plain counts of an address in a minute."""
    counts = Counter((line.split(b" ", 1)[0], int(_when(line) // 60)) for line in lines)
    found = {ip for (ip, _), n in counts.items() if n >= RULE_PER_MINUTE}
    return f"{len(found)} of {len({ip for ip, _ in counts})} addresses"


def _tpr_of_counts(lines: list[bytes]) -> float:
    """The count of the source's requests so far in its minute as a score."""
    seen: Counter[tuple[bytes, int]] = Counter()
    scores: tuple[list[float], list[float]] = ([], [])
    for line in lines:
        ip = line.split(b" ", 1)[0].lstrip(b'"')
        key = (ip, int(_when(line) // 60))
        seen[key] += 1
        scores[ip.decode() == SCANNER].append(float(seen[key]))
    return tpr_at_fpr(np.array(scores[0]), np.array(scores[1]), 1e-3)[0]
