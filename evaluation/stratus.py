"""Stratus Red Team in AWS: does a row of refusals give the red team away?"""

from __future__ import annotations

from collections import defaultdict

from figures import Figure, loader, native, of, replayed

from gatewatch.records import Finding

TITLE = "Stratus Red Team (CloudTrail, 310 events, all attack)"
ON = (
    "AWS API calls of red-team detonations: principal, address, operation, denied or not. `denied` is the source's own "
    "error class. Nothing invented; latency and bytes are absent. Counted are principals with five refusals or more: "
    "fewer cannot be told from a missing permission."
)
WITHIN = 5


def run() -> list[Figure]:
    """After how many refusals each probing principal or address is named."""
    rows = sorted(loader().events("stratus_cloudtrail"), key=lambda row: float(row["ts"]))
    events = [
        {
            "ts": row["ts"],
            "principal": row["principal"],
            "ip": row.get("ip"),
            "endpoint": row["endpoint"],
            "status": 403 if row["auth"] == "denied" else 200,
            "denied": row["auth"] == "denied",
            "auth": "success",
        }
        for row in rows
        if row.get("principal")
    ]
    done = replayed(native(events))
    refusals: dict[str, list[int]] = defaultdict(list)  # places in the log: its times are whole seconds
    operations: dict[str, set[str]] = defaultdict(set)
    where: dict[str, set[str]] = defaultdict(set)
    for place, event in enumerate(events):
        who = str(event["principal"])
        where[who].add(str(event["ip"]))
        if event["denied"]:
            refusals[who].append(place)
            operations[who].add(str(event["endpoint"]))
    probing = {who: times for who, times in refusals.items() if len(times) >= WITHIN}
    found: dict[str, int] = {}
    for who, places in probing.items():
        told = [
            at
            for f in done.findings
            if f.key in {who, *where[who]} and (f.warm or not f.learned) and (at := _place(f)) >= places[0]
        ]
        if told:
            found[who] = sum(place <= min(told) for place in places)
    soon = [who for who, n in found.items() if n <= WITHIN]
    missed = [f"{len(probing[w])} refusals on {len(operations[w])} operations" for w in probing if w not in soon]
    return [
        Figure(
            what=f"principals with {WITHIN} refusals or more, named within {WITHIN}",
            value=of(len(soon), len(probing)),
            target="all",
            met=len(soon) == len(probing),
            published="Elastic and Prowler: rules for single operations, no figure for this set",
            rule=f"{WITHIN} refusals of a principal: all of them, and every script with a missing permission",
            note="; ".join(missed)
            or "both as `never_served`, severity low: a new service without its permission looks the same",
        ),
    ]


def _place(finding: Finding) -> int:
    """Which event of the log it was told at."""
    return int(finding.sample.split("-")[-2])
