"""Findings in words: what added up to the score, what it was compared with, what would not have fired."""

from __future__ import annotations

import math
from collections.abc import Mapping

from gatewatch.sdk import Contribution, Explanation, RawFinding, Scope

from .constants import LEAST_NAMES, PEOPLE_A, PEOPLE_B, THETA1
from .row import run_nats


def explain(finding: RawFinding) -> Explanation:
    """The explanation of any finding of this detector: a pure function of it."""
    match finding.reason.name:
        case "stuffing" | "spraying" | "distributed_cracking":
            return _many(finding, finding.detail)
        case "cracking" | "expired_key":
            return _one(finding, finding.detail)
        case "takeover":
            return _takeover(finding, finding.detail)
        case _:
            return _limit(finding)


def _many(finding: RawFinding, d: Mapping[str, float]) -> Explanation:
    names = "networks" if finding.scope is Scope.ACCOUNT else "accounts"
    parts = [Contribution("failed_first_tries", d["gain"], f"first try on {d['accounts']:.0f} {names} failed")]
    if d["credit"] > 0.0:
        parts.append(
            Contribution("successful_first_tries", -d["credit"], f"first try on {d['successes']:.0f} {names} succeeded")
        )
    forgotten = d["gain"] - d["credit"] - finding.nats
    if forgotten > 1e-9 * finding.nats:
        parts.append(Contribution("forgetting", -forgotten, "older tries count less, by half in 17 hours"))
    else:  # rounding only
        parts[0] = Contribution(parts[0].name, finding.nats + d["credit"], parts[0].text)
    step = math.log((1.0 - THETA1) / (1.0 - d["theta0"]))
    fewer = math.floor((finding.nats - finding.threshold_nats) / step) + 1
    fewer = min(fewer, max(1, int(d["accounts"]) - LEAST_NAMES + 1))
    return Explanation(
        tuple(parts),
        f"benign {'accounts' if finding.scope is Scope.ACCOUNT else 'sources'} here succeed at "
        f"{100 * d['theta0']:.0f} % of first tries; this one failed on {d['accounts']:.0f} {names} "
        f"in {d['failures']:.0f} tries",
        f"would not have fired with failures on {_count(fewer, names)} fewer",
    )


def _one(finding: RawFinding, d: Mapping[str, float]) -> Explanation:
    k = d["failures"]
    run = run_nats(k)
    parts = [Contribution("run", run, f"{k:.0f} failures in a row on one account")]
    if d["accounts_behind"] > 1.0:
        parts.append(
            Contribution(
                "shared_source", -math.log(d["accounts_behind"]),
                f"{d['accounts_behind']:.0f} accounts succeed from here: any of them may be the one who forgot",
            )
        )  # fmt: skip
    low, high = 0.0, k  # the longest run that stays below the threshold
    for _ in range(60):
        middle = 0.5 * (low + high)
        if run_nats(middle) - math.log(d["accounts_behind"]) < finding.threshold_nats:
            low = middle
        else:
            high = middle
    fewer = max(1, math.ceil(k - low))
    succeeded = finding.reason.name == "expired_key"
    return Explanation(
        tuple(parts),
        f"people fail {PEOPLE_B / (PEOPLE_A - 1.0):.1f} times in a row on average, 11 times once in 14,000; "
        + ("this pair used to succeed, or sends one key again and again" if succeeded else "this pair never succeeded"),
        f"would not have fired with {_count(fewer, 'failures')} fewer",
    )


def _takeover(finding: RawFinding, d: Mapping[str, float]) -> Explanation:
    text = f"{_count(int(d['failures']), 'failures')} before, on {_count(max(1, int(d['accounts'])), 'names')}"
    return Explanation(
        (Contribution("attack_before", finding.nats, text),),
        "a success by a pair that never succeeded before, while the source or the account is under attack",
        "would not have fired without the attack, or had this pair succeeded in the last 7 days",
    )


def _limit(finding: RawFinding) -> Explanation:
    return Explanation(
        (
            Contribution(
                "failed_first_tries", finding.nats, "what the first-contact test says, for the order of alerts"
            ),
        ),
        f"a plain limit of {finding.expected:g} {finding.reason.unit}",
        f"would not have fired at {finding.expected:g} {finding.reason.unit}",
    )


def explain_population(finding: RawFinding) -> Explanation:
    """The explanation of a finding on populations: a pure function of it."""
    d = finding.detail
    kind = "on accounts that do not exist" if finding.reason.name == "unknown_accounts" else "at the first contact"
    parts = (
        Contribution("failures", d["evidence"], f"{d['failures']:.0f} failures {kind} in {d['minutes']:.0f} minutes"),
        Contribution(
            "expected", -d["against"],
            f"of which {d['expected']:.1f} were to be expected beside {d['successes']:.0f} successes",
        ),
    )  # fmt: skip
    fewer = math.floor((finding.nats - finding.threshold_nats) / math.log(d["rho"])) + 1
    return Explanation(
        parts,
        f"usually {finding.expected:.1f} {finding.reason.unit} beside as many successes, 7 days",
        f"would not have fired with {_count(min(fewer, max(1, int(d['failures']))), 'failures')} fewer",
    )


def _count(n: int, plural: str) -> str:
    return f"{n} {plural if n != 1 else plural.removesuffix('s')}"
