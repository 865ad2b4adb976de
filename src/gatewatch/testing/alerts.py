"""Alerts to tell."""

from __future__ import annotations

from typing import Any

from gatewatch.notify.notice import Notice
from gatewatch.records import Alert, ContributionModel, Incident, IncidentMember, Mode, Scope, Severity, Status

NOW = 1_800_000_000.0
PLAYBOOK = """# Playbook

1. Look at {key}: is it a customer's office? (field: key)
2. Ask {owner}. (field: owner)
3. Block it. (field: decision_ids)
"""


def alert(**changes: Any) -> Alert:
    """An alert about stuffing, a minute old at ``NOW``, with some fields changed."""
    fields: dict[str, Any] = {
        "id": "00aa11bb22cc33dd",
        "revision": 7,
        "status": Status.OPEN,
        "severity": Severity.HIGH,
        "mode": Mode.ALERT,
        "detector": "credential_stuffing",
        "detector_version": 1,
        "scope": Scope.IP,
        "key": "203.0.113.9",
        "reason": "stuffing",
        "title": "Credential stuffing",
        "summary": "412 accounts tried from 203.0.113.9 in 5 min",
        "project": "billing",
        "first_ts": NOW - 90,
        "last_ts": NOW - 60,
        "valid_until": NOW + 600,
        "count": 3,
        "nats": 42.0,
        "p": 1e-12,
        "observed": 412.0,
        "expected": 2.0,
        "unit": "accounts",
        "window_s": 600.0,
        "threshold_nats": 9.2,
        "baseline": "92 % of first tries succeed here",
        "counterfactual": "would not have fired with 4 accounts",
        "contributions": (ContributionModel(name="tries", nats=42.0, text="408 first tries failed"),),
        "samples": ("access-0-17-0",),
        "context": {"user_agent": "curl/8"},
        "playbook": "credential_stuffing/PLAYBOOK.md",
        "config_hash": "01234567",
    }
    return Alert(**{**fields, **changes})


def notice(*, verdict: str | None = None, acknowledged_by: str | None = None, **changes: Any) -> Notice:
    """A notice about one alert."""
    told = alert(**changes)
    return Notice(
        told.incident_id or told.id,
        told.id,
        told.revision,
        told,
        members=(told,),
        playbook=PLAYBOOK,
        verdict=verdict,
        acknowledged_by=acknowledged_by,
    )


def incident(*alerts: Alert, **changes: Any) -> Incident:
    """An incident of these alerts (or of one), the first of them the gravest, with some fields changed."""
    parts = alerts or (alert(incident_id="inc0000000000001"),)
    first = parts[0]
    fields: dict[str, Any] = {
        "id": "inc0000000000001",
        "revision": max(a.revision for a in parts),
        "status": Status.OPEN,
        "severity": max((a.severity for a in parts), key=lambda s: s.rank),
        "mode": Mode.ALERT,
        "title": "Credential stuffing",
        "story": "stuffing from 346 addresses since 04:10, 499 tries on 31 accounts, 0 successes; 12 blocks",
        "scope": first.scope,
        "key": first.key,
        "detector": first.detector,
        "detectors": tuple(dict.fromkeys(a.detector for a in parts)),
        "project": first.project,
        "members": tuple(
            IncidentMember(
                scope=a.scope, key=a.key, detectors=(a.detector,), severity=a.severity, alert_id=a.id, count=a.count
            )
            for a in parts
        ),
        "members_total": len(parts),
        "alert_ids": tuple(a.id for a in parts),
        "alerts_total": len(parts),
        "first_ts": min(a.first_ts for a in parts),
        "last_ts": max(a.last_ts for a in parts),
        "valid_until": max(a.valid_until for a in parts),
        "count": sum(a.count for a in parts),
        "config_hash": "01234567",
    }
    return Incident(**{**fields, **changes})
