"""A case in words, and as one revision of an incident."""

from __future__ import annotations

from collections.abc import Iterator

from gatewatch.decide.cases import Case
from gatewatch.decide.episodes import UPDATE_S
from gatewatch.decide.evidence import ACTORS
from gatewatch.decide.guards import utc
from gatewatch.decide.text import accused, clean
from gatewatch.records import Action, Incident, IncidentMember, Mode, Scope, Status
from gatewatch.records.quantities import amount, span, usual

# A record stays far below 1 MiB, and a page shows no more; the totals say how many there are.
MEMBERS_SHOWN = 20
ALERTS_SHOWN = 50
ORDERS_SHOWN = 50
GRACE_S = 60.0  # gateways ask every 10 s or push at once; so long after an order it is told what traffic shows of it

_MANY = {
    Scope.IP: ("address", "addresses"),
    Scope.NETWORK: ("network", "networks"),
    Scope.PRINCIPAL: ("principal", "principals"),
    Scope.CREDENTIAL: ("credential", "credentials"),
    Scope.ACCOUNT: ("account", "accounts"),
    Scope.ENDPOINT: ("endpoint", "endpoints"),
    Scope.PROJECT: ("project", "projects"),
    Scope.ALL: ("thing", "things"),
}
_DONE = {Action.BLOCK: ("block", "blocks"), Action.THROTTLE: ("throttle", "throttles"),
         Action.CHALLENGE: ("challenge", "challenges")}  # fmt: skip


def revision(case: Case, offset: int, now: float, hashes: tuple[str, str]) -> Incident:
    """What a person is told of a case now; ``now`` is the event time that the task which caused it has passed."""
    over = case.open == 0 or case.into is not None
    status = Status.RESOLVED if over else Status.OPEN if case.told is None else Status.UPDATED
    orders = sorted(case.orders.values(), key=lambda d: (d.mode is not Mode.BLOCK, d.start, d.id))
    return Incident(
        id=case.id,
        revision=offset,
        status=status,
        severity=case.grade,
        mode=case.mode,
        title=title(case),
        story=story(case, now),
        scope=case.lead.scope,
        key=case.lead.key,
        detector=case.lead.detector,
        detectors=tuple(case.detectors),
        project=case.lead.project,
        projects=tuple(case.projects),
        members=_members(case),
        members_total=case.size,
        alert_ids=_alerts(case),
        alerts_total=case.alerts_total,
        decision_ids=tuple(d.id for d in orders[:ORDERS_SHOWN]),
        decisions_total=len(orders),
        first_ts=case.first_ts,
        last_ts=case.last_ts,
        valid_until=case.due if over else case.due + UPDATE_S,
        count=case.count,
        joined_by=tuple(clean(why) for why in case.evidence),
        owner=case.ownership.owner,
        escalation=case.ownership.escalation,
        acknowledged_by=case.acknowledged_by,
        verdict=case.verdict,
        held_until=case.held_until,
        merged_into=case.into.id if case.into is not None else None,
        resolution=_resolution(case) if over else None,
        waiting=len(case.waiting),
        config_hash=hashes[0],
        catalog_hash=hashes[1],
    )


def title(case: Case) -> str:
    """What, and by whom: "Credential stuffing from 346 addresses"."""
    if case.storm:
        return f"{case.size} unrelated keys at once; the gravest: {clean(case.lead.title)}"
    return f"{clean(case.lead.title)} {_who(case)}"


def story(case: Case, now: float) -> str:
    """One line: what, by whom, since when, how much, and what is done about it."""
    return "; ".join(_parts(case, now))


def _parts(case: Case, now: float) -> Iterator[str]:
    lead = case.lead
    yield f"{title(case)} since {utc(case.first_ts)}, {span(max(case.last_ts - case.first_ts, 0.0))}"
    worst = "at the worst " if case.size > 1 else ""
    of_findings = f", {case.count} findings" if case.count > 1 else ""
    yield f"{worst}{amount(lead.observed, clean(lead.unit))} where {usual(lead.expected)} is normal{of_findings}"
    actors = [s for s in case.scopes if s in ACTORS]
    victims = len(case.victims)
    if victims > 1 and actors:
        yield f"on {victims} accounts"
    if others := [name for name in case.titles if name != lead.title]:
        yield "also " + ", ".join(clean(name).lower() for name in others[:4])
    yield done(case, now)


def done(case: Case, now: float) -> str:
    """What we did, and whether it helped."""
    real = [d for d in case.orders.values() if d.mode is Mode.BLOCK and d.removed is None]
    if not real:
        return f"nobody is stopped{_why_nobody(case)}"
    counts = [(action, sum(d.action is action for d in real)) for action in reversed(Action)]
    text = ", ".join(f"{n} {_DONE[action][n != 1]}" for action, n in counts if n)
    if case.waiting:
        text += ", others wait for a second person"
    if case.through:
        return f"{text}, {len({order for order, _gateway in case.through})} of them still get through"
    if case.effective:
        return f"{text}, effective after {span(max(case.effective.values()))}"
    if now >= max(d.start for d in real) + GRACE_S:
        return f"{text}, no request was refused since"
    return text


def _why_nobody(case: Case) -> str:
    if case.waiting:
        return ": orders wait for a second person"
    if case.refused:
        guard, _n = max(case.refused.items(), key=lambda item: (item[1], item[0]))
        return f": refused by {guard}"
    return ", orders in shadow only" if case.orders else ""


def _who(case: Case) -> str:
    actors = {scope: n for scope, n in case.scopes.items() if scope in ACTORS}
    word = "from" if actors else "on"
    scopes = actors or dict(case.scopes)
    if sum(scopes.values()) == 1:
        key = next((key for key in case.members if key[0] in scopes), (case.lead.scope, case.lead.key))
        return f"{word} {accused(*key)}"
    parts = [
        f"{scopes[scope]} {_MANY.get(scope, (scope.value, scope.value))[scopes[scope] != 1]}"
        for scope in Scope
        if scopes.get(scope)
    ]
    return f"{word} {' and '.join(parts)}" if len(parts) < 3 else f"{word} {', '.join(parts)}"


def _members(case: Case) -> tuple[IncidentMember, ...]:
    """The gravest, the one that leads first."""
    lead = (case.lead.scope, case.lead.key)
    ranked = sorted(case.members.items(), key=lambda m: (m[0] != lead, -m[1].weight[0], -m[1].weight[1], m[0]))
    return tuple(
        IncidentMember(
            scope=scope, key=key, detectors=tuple(m.detectors), severity=m.severity, alert_id=m.alert_id, count=m.count
        )
        for (scope, key), m in ranked[:MEMBERS_SHOWN]
    )


def _alerts(case: Case) -> tuple[str, ...]:
    ranked = sorted(case.alerts.items(), key=lambda a: (a[0] != case.lead_alert, -a[1][0], -a[1][1], a[0]))
    return tuple(alert_id for alert_id, _weight in ranked[:ALERTS_SHOWN])


def _resolution(case: Case) -> str:
    if case.into is not None:
        return f"part of incident {case.into.id}"
    if case.verdict is not None:
        return case.verdict
    return f"no finding for {span(case.cool_down_s)}"
