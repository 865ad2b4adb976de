"""An alert as an OCSF 1.8.0 Detection Finding (class 2004), for SIEMs and data lakes (contracts.md 7.1)."""

from __future__ import annotations

from typing import Any

from gatewatch import __version__
from gatewatch.notify.words import OCSF
from gatewatch.records import Alert, Scope, Status

VERSION = "1.8.0"
_ACTIVITY = {Status.OPEN: 1, Status.UPDATED: 2, Status.RESOLVED: 3}  # create, update, close
_STATUS = {Status.OPEN: 1, Status.UPDATED: 2, Status.RESOLVED: 4}  # new, in progress, resolved
_STATISTICAL = 3  # analytic.type_id
_BLOCKED, _ALERTED = 2, 19  # disposition_id of the security_control profile
_DENIED, _OBSERVED = 2, 3  # action_id
# What a key is, as an observable: number and caption
_OBSERVABLES = {
    Scope.IP: (2, "IP Address"),
    Scope.NETWORK: (12, "Subnet"),
    Scope.ACCOUNT: (4, "User Name"),
    Scope.PRINCIPAL: (4, "User Name"),
    Scope.CREDENTIAL: (19, "User Credential ID"),
    Scope.ENDPOINT: (10, "Resource UID"),
    Scope.PROJECT: (10, "Resource UID"),
}
_OTHER = (99, "Other")


def detection_finding(alert: Alert) -> dict[str, Any]:
    """The event. What a stranger wrote stays data: only in values, never in names."""
    activity, blocked = _ACTIVITY[alert.status], bool(alert.decision_ids)
    type_id, caption = _OBSERVABLES.get(alert.scope, _OTHER)
    event: dict[str, Any] = {
        "category_uid": 2,
        "class_uid": 2004,
        "activity_id": activity,
        "type_uid": 200_400 + activity,
        "time": _ms(alert.last_ts),
        "severity_id": OCSF[alert.severity],
        "status_id": _STATUS[alert.status],
        "is_alert": True,
        "message": alert.summary,
        "count": alert.count,
        "start_time": _ms(alert.first_ts),
        "end_time": _ms(alert.last_ts),
        "action_id": _DENIED if blocked else _OBSERVED,
        "disposition_id": _BLOCKED if blocked else _ALERTED,
        "metadata": {
            "version": VERSION,
            "uid": f"{alert.id}-{alert.revision}",
            "profiles": ["security_control"],
            "product": {"name": "Gatewatch", "vendor_name": "Gatewatch", "version": __version__},
        },
        "finding_info": _finding(alert),
        "observables": [{"name": alert.scope.value, "type_id": type_id, "type": caption, "value": alert.key}],
        "evidences": [_evidence(alert)],
        "unmapped": alert.model_dump(mode="json"),
    }
    if alert.project is not None:
        event["resources"] = [{"uid": alert.project, "name": alert.project, "type": "project"}]
    return event


def _finding(alert: Alert) -> dict[str, Any]:
    finding: dict[str, Any] = {
        "uid": alert.id,
        "title": alert.title,
        "desc": alert.summary,
        "first_seen_time": _ms(alert.first_ts),
        "last_seen_time": _ms(alert.last_ts),
        "analytic": {
            "name": alert.detector,
            "uid": alert.detector,
            "version": str(alert.detector_version),
            "type_id": _STATISTICAL,
        },
    }
    attacks = [_attack(tag) for tag in alert.tags.get("attack", ())]
    if attacks:
        finding["attacks"] = attacks
    if alert.incident_id is not None:
        finding["related_events"] = [{"uid": alert.incident_id, "type": "incident"}]
    return finding


def _attack(tag: str) -> dict[str, Any]:
    technique, _, sub = tag.partition(".")
    attack: dict[str, Any] = {"technique": {"uid": technique}}
    if sub:
        attack["sub_technique"] = {"uid": tag}
    return attack


def _evidence(alert: Alert) -> dict[str, Any]:
    evidence: dict[str, Any] = {
        "data": {
            "observed": alert.observed,
            "expected": alert.expected,
            "unit": alert.unit,
            "baseline": alert.baseline,
            "samples": list(alert.samples),
        }
    }
    address = alert.key if alert.scope is Scope.IP else alert.context.get("ip")
    if address:
        evidence["src_endpoint"] = {"ip": address}
    return evidence


def _ms(ts: float) -> int:
    return round(ts * 1000)
