"""LogHub OpenSSH: one source cracks root, one sprays names, and people log in between."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from figures import Figure, loader, native, of, replayed, sent

TITLE = "OpenSSH log (LogHub, 2,000 lines, 4.1 h)"
ON = (
    "Login attempts as native events (account, address, failure or success). Invented: the year. Labels by reading: "
    "cracking from 183.62.140.253, spraying from 187.141.143.180; "
    "whatever else was accused is in the notes."
)
ATTACKERS = {"183.62.140.253": 286, "187.141.143.180": 80}
RULE_FAILURES, RULE_WINDOW_S = 30, 1800.0  # Zeek's detect-bruteforcing: 30 failures in 30 minutes


def run() -> list[Figure]:
    """Coverage of the two attackers, and who else was accused."""
    attempts = list(loader().sshd())
    done = replayed(native(attempts))
    figures = []
    rule = by_rule(attempts)
    for attacker, total in ATTACKERS.items():
        spans = [(a.first_ts, a.valid_until) for a in done.alerts if a.key == attacker and a.mode != "shadow"]
        times = [row["ts"] for row in attempts if row["ip"] == attacker and row["auth"] == "failure"]
        covered = sum(any(low <= ts <= high for low, high in spans) for ts in times)
        first = min(
            (i for i, ts in enumerate(times, 1) for f in done.findings if f.key == attacker and f.ts <= ts), default=0
        )
        figures.append(
            Figure(
                what=f"attempts of {attacker} inside an alert's time",
                value=of(covered, total),
                target=">= 95 %",
                met=covered >= 0.95 * total,
                published="Zeek: an alert at the 30th failure within 30 minutes",
                rule=f"30 failures in 30 min: alert at attempt {rule[attacker]}" if rule.get(attacker) else "missed",
                note=f"first finding at attempt {first}",
            )
        )
    others = sorted({a.key for a in sent(done) if a.scope == "ip"} - set(ATTACKERS))
    hostile = {row["ip"] for row in attempts} - {row["ip"] for row in attempts if row["auth"] == "success"}
    figures.append(
        Figure(
            what="other addresses accused",
            value=str(len(others)),
            target="none that ever logged in",
            met=set(others) <= hostile,
            rule=f"30 failures in 30 min accuses {len(set(rule) - set(ATTACKERS))} others",
            note="all without one success in the log: " + ", ".join(others) if others else "",
        )
    )
    return figures


def by_rule(attempts: list[dict[str, Any]]) -> dict[str, int]:
    """Addresses that the simplest rule accuses, each with the number of the failure at which it does."""
    failures: dict[str, list[float]] = defaultdict(list)
    told: dict[str, int] = {}
    for row in attempts:
        times = failures[row["ip"]]
        if row["auth"] == "failure":
            times.append(row["ts"])
            recent = sum(ts > row["ts"] - RULE_WINDOW_S for ts in times)
            if recent >= RULE_FAILURES:
                told.setdefault(row["ip"], len(times))
    return told
