"""Alerts as OCSF Detection Findings: what the class requires is there, and right."""

from __future__ import annotations

import json

import pytest

from gatewatch.notify.receivers.ocsf import detection_finding
from gatewatch.records import Scope, Severity, Status
from gatewatch.testing.alerts import NOW, alert


@pytest.mark.parametrize(
    ("status", "activity", "status_id"),
    [(Status.OPEN, 1, 1), (Status.UPDATED, 2, 2), (Status.RESOLVED, 3, 4)],
)
def test_what_the_class_requires_is_there(status: Status, activity: int, status_id: int) -> None:
    """If this fails, a data lake refuses the event, or never closes the finding."""
    event = detection_finding(alert(status=status))
    assert (event["category_uid"], event["class_uid"]) == (2, 2004)
    assert (event["activity_id"], event["type_uid"], event["status_id"]) == (activity, 200_400 + activity, status_id)
    assert event["time"] == round((NOW - 60) * 1000)
    assert event["metadata"]["version"] == "1.8.0"
    assert event["metadata"]["product"]["name"] == "Gatewatch"
    assert event["finding_info"]["uid"] == alert().id
    assert json.loads(json.dumps(event)) == event


@pytest.mark.parametrize(("severity", "number"), [(s, n) for n, s in enumerate(Severity, 1)])
def test_severities_have_the_numbers_of_ocsf(severity: Severity, number: int) -> None:
    """If this fails, a critical alert is shown as something else."""
    assert detection_finding(alert(severity=severity))["severity_id"] == number


@pytest.mark.parametrize("scope", list(Scope))
def test_every_kind_of_key_is_an_observable(scope: Scope) -> None:
    """If this fails, alerts on that scope cannot be searched for by what they accuse."""
    (observable,) = detection_finding(alert(scope=scope, key="k"))["observables"]
    assert observable["value"] == "k"
    assert observable["type_id"] > 0
    assert observable["type"]


def test_what_was_stopped_is_denied() -> None:
    """If this fails, an analyst believes that a blocked attack went on."""
    stopped, seen = detection_finding(alert(decision_ids=("d",))), detection_finding(alert())
    assert (stopped["action_id"], stopped["disposition_id"]) == (2, 2)
    assert (seen["action_id"], seen["disposition_id"]) == (3, 19)


def test_techniques_and_addresses_are_named() -> None:
    """If this fails, the finding cannot be joined with others by technique or address."""
    event = detection_finding(alert(tags={"attack": ("T1110.004", "T1078")}, incident_id="inc"))
    first, second = event["finding_info"]["attacks"]
    assert (first["technique"]["uid"], first["sub_technique"]["uid"]) == ("T1110", "T1110.004")
    assert second == {"technique": {"uid": "T1078"}}
    assert event["finding_info"]["related_events"] == [{"uid": "inc", "type": "incident"}]
    assert event["evidences"][0]["src_endpoint"] == {"ip": "203.0.113.9"}
