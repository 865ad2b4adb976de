"""Alerts to tell."""

from __future__ import annotations

from typing import Any

from gatewatch.records import Alert, ContributionModel, Mode, Scope, Severity, Status

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
