"""What verdicts ask the settings to be, and what that would have cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gatewatch.decide.propose import changed, diff, propose
from gatewatch.records import Finding, Scope, Verdict, VerdictKind
from gatewatch.settings import Settings, VerdictSettings, parse
from gatewatch.testing.alerts import NOW, alert
from gatewatch.verdicts import verdict_on

Make = Callable[..., Finding]
WHO = VerdictSettings.model_validate({"actors": ["ana"]})


def said(kind: str, key: str, **fields: Any) -> Verdict:
    """What ana says of one address of the conftest's detector."""
    about = alert(id=f"id-{key}", detector="door_knocker", key=key, **({"project": None} | fields))
    until = NOW + 86400.0 if kind == "expected" else None
    return verdict_on(about, VerdictKind(kind), actor="ana", reason="ticket 7", now=NOW, settings=WHO, until=until)


def test_a_detector_that_is_wrong_about_several_keys_is_in_shadow_there(make_finding: Make) -> None:
    """If this fails, people click "false alarm" for months for nothing; or one click switches a detector off."""
    wrong = [said("false_alarm", f"203.0.113.{i}", project="shop") for i in range(3)]
    findings = [make_finding(float(i), n=i, project="shop" if i < 4 else "bank") for i in range(6)]
    (proposal,) = propose(Settings(), wrong, findings, NOW)
    assert (proposal.path, proposal.value) == (("projects", "shop", "detectors", "door_knocker", "mode"), "shadow")
    assert (proposal.hit, proposal.of, proposal.true) == (4, 6, 0)
    raw = {"budget": {"false_alarms_per_day": 2}}
    after = changed(raw, [proposal])
    assert parse(after, Settings).projects["shop"].detectors["door_knocker"].mode == "shadow"
    assert raw == {"budget": {"false_alarms_per_day": 2}}
    assert "+projects:" in diff(raw, after, "gatewatch.yaml")
    assert propose(parse(after, Settings), wrong, findings, NOW) == []
    assert propose(Settings(), wrong[:2], findings, NOW) == []
    right = said("true", "203.0.113.77", project="shop")
    assert propose(Settings(), [*wrong, right], findings, NOW) == []


def test_a_budget_that_loses_the_false_alarms_says_which_true_ones_go_with_them(make_finding: Make) -> None:
    """If this fails, a reviewer takes a diff that hides an attack that somebody had confirmed."""
    learned: dict[str, Any] = {"learned": True, "threshold_nats": 10.0}
    findings = [
        make_finding(0.0, n=0, key="203.0.113.1", nats=11.0, **learned),
        make_finding(1.0, n=1, key="203.0.113.2", nats=10.5, **learned),
        make_finding(2.0, n=2, key="203.0.113.3", nats=14.0, **learned),
        make_finding(3.0, n=3, key="203.0.113.4", nats=10.5),
    ]
    verdicts = [said("false_alarm", "203.0.113.1"), said("true", "203.0.113.2")]
    (proposal,) = propose(Settings(), verdicts, findings, NOW)
    assert proposal.path == ("budget", "false_alarms_per_day")
    assert proposal.value == 0.36
    assert (proposal.hit, proposal.of, proposal.true) == (2, 4, 1)
    strong = [make_finding(0.0, key="203.0.113.1", nats=30.0, **learned)]
    assert propose(Settings(), verdicts, strong, NOW) == []


def test_what_is_expected_becomes_an_entry_with_owner_reason_and_end(make_finding: Make) -> None:
    """If this fails, what somebody allowed for a quarter is known to nobody but the log."""
    expected = said("expected", "203.0.113.9")
    proposals = propose(Settings(), [expected], [make_finding(0.0), make_finding(1.0, n=1, key="a")], NOW)
    settings = parse(changed({}, proposals), Settings)
    (entry,) = settings.guards.allow
    assert (entry.scope, entry.value, entry.owner, entry.reason) == (Scope.IP, "203.0.113.9", "ana", "ticket 7")
    assert entry.until_ts >= NOW + 86400.0
    assert [(p.hit, p.of, p.effect) for p in proposals] == [(1, 2, "free")]
    assert propose(settings, [expected], [], NOW) == []
    assert propose(Settings(), [expected], [], NOW + 2 * 86400.0) == []
