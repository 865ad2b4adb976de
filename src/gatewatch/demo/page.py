"""The last page of the demo: for somebody who sees Gatewatch for the first time. Words only, no layout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from gatewatch.demo.run import Result
from gatewatch.demo.score import Verdict
from gatewatch.records import Alert


def opening(seed: int, hours: float, rate: float) -> str:
    """What is about to happen."""
    return (
        f"{hours:g} hours in the life of a site that offers language models to its services and people, made up "
        f"from seed {seed}: about {rate:g} requests a second with all the trouble of an ordinary day (a bad deploy, "
        "forgotten passwords, an expired key, hourly batch jobs). Nobody attacks on the first day, so that Gatewatch "
        "can learn what is usual; then twelve attacks come. Every request goes through the same code as on Kafka: it "
        "is read, each detector judges it, and what they find becomes alerts and blocks."
    )


def clock_time(ts: float) -> str:
    """The time of day of the simulated world.

    >>> clock_time(1772517600.0)
    '06:00'
    """
    return datetime.fromtimestamp(ts, UTC).strftime("%H:%M")


def span(seconds: float) -> str:
    """A duration as people say it.

    >>> span(4.2), span(90), span(7380)
    ('4 s', '1.5 min', '2 h 3 min')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.1f}".removesuffix(".0") + " min"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"


def share(part: int, whole: int) -> str:
    """Per cent, never rounded up to all of it.

    >>> share(599, 600), share(600, 600)
    ('99 %', '100 %')
    """
    return f"{100 * part // whole if whole else 0} %"


def status(verdict: Verdict) -> str:
    """One word for what became of an attack."""
    if verdict.caught:
        return "caught"
    return "MISSED" if verdict.covered else "not seen"


def told(verdict: Verdict) -> str:
    """What became of an attack, as a sentence."""
    if verdict.caught:
        named = f"{share(verdict.events_named, verdict.events)} of its {verdict.events:,} requests"
        return (
            f"by {verdict.detector} ({verdict.title}) after {span(verdict.after_s or 0.0)}; the alerts name where "
            f"{named} came from; {_blocked(verdict)}"
        )
    others = f"; {', '.join(verdict.others)} happened to report the same key" if verdict.others else ""
    if verdict.covered:
        return f"{verdict.needs} should have seen it{others}"
    return f"needs {verdict.needs}, which is not shipped yet{others}"


def _blocked(verdict: Verdict) -> str:
    if verdict.blocked_after_s is None:
        return "not blocked"
    later = share(verdict.events_after_block, verdict.events)
    return f"blocked after {span(verdict.blocked_after_s)}, when {later} were still to come"


def summary(result: Result) -> Iterator[str]:
    """Sentences under the scoreboard."""
    board = result.board
    covered = [verdict for verdict in board.verdicts if verdict.covered]
    caught = sum(verdict.caught for verdict in covered)
    yield (
        f"{result.events:,} requests of {result.services} services and {result.people:,} people in "
        f"{result.wall_s:.0f} s on one core: {result.events / result.wall_s:,.0f} a second, the simulator's own work "
        "included."
    )
    yield f"Attacks that the detectors here are made for: {caught} of {len(covered)} caught."
    unseen = len(board.verdicts) - len(covered)
    if unseen:
        yield f"Attacks that are made for detectors of later versions: {unseen}."
    yield from _false_alarms(result)
    yield from _about_us(result)
    if board.wrong_blocks:
        first = board.wrong_blocks[0]
        yield f"Blocks of somebody innocent: {len(board.wrong_blocks)}."
        yield f"  {first.scope} {first.value}: {first.reason}"
    else:
        yield "Blocks of somebody innocent: none."


def _false_alarms(result: Result) -> Iterator[str]:
    board = result.board
    n = len(board.false_alarms)
    yield f"False alarms (alerts about no attack): {n} in {result.plan.hours:g} hours, {n / board.days:.1f} a day."
    by_detector = Counter(alert.detector for alert in board.false_alarms)
    if by_detector:
        yield f"  by detector: {', '.join(f'{name} {k}' for name, k in by_detector.most_common())}; for example"
    for alert in {alert.detector: alert for alert in reversed(board.false_alarms)}.values():
        yield f"  {clock_time(alert.first_ts)} {alert.detector}: {alert.summary}"
    if board.notes:
        first = board.notes[0]
        yield f"Notes of low severity, which wake nobody: {len(board.notes)}."
        yield f"  {clock_time(first.first_ts)} {first.detector}: {first.summary}"
    if result.shadows:
        yield (
            f"In shadow: {result.shadows}. What a detector has learned for too short a time to be trusted is written "
            "down, but sent to nobody."
        )


def _about_us(result: Result) -> Iterator[str]:
    """What Gatewatch told of itself: true or not, no detector accused anybody, so it is no false alarm of theirs."""
    own = result.board.about_us
    if not own:
        return
    kinds = Counter(alert.reason for alert in own)
    yield (
        f"{len(own)} alert{'s' if len(own) > 1 else ''} about Gatewatch itself, counted apart: "
        f"{', '.join(f'{name} {n}' for name, n in kinds.most_common())}."
    )
    for alert in {alert.reason: alert for alert in reversed(own)}.values():
        yield f"  {clock_time(alert.first_ts)} {alert.summary}"


def worked_alert(result: Result) -> Alert | None:
    """The alert that shows most: the first attack's that also led to a block, else the first that was caught."""
    caught = [verdict for verdict in result.board.verdicts if verdict.alert_id]
    caught.sort(key=lambda verdict: (verdict.blocked_after_s is None, verdict.first_ts))
    return result.alerts[caught[0].alert_id or ""] if caught else None


def explained(alert: Alert) -> Iterator[tuple[str, str]]:
    """An alert in words: what each part of it says."""
    yield "What", f"{alert.title} by {alert.scope.value} {alert.key}, severity {alert.severity.value}"
    yield "In short", alert.summary
    yield "When", f"{clock_time(alert.first_ts)} to {clock_time(alert.last_ts)}, reported {alert.count} times since"
    yield "Seen", f"{alert.observed:,.4g} {alert.unit}, expected {alert.expected:,.4g}"
    yield "Compared with", alert.baseline
    parts = "; ".join(f"{part.text} ({part.nats:+.1f})" for part in alert.contributions)
    yield (
        "Why",
        (
            f"{parts}. The numbers are surprise, in natural logarithms: they add up to {alert.nats:.1f}, and "
            f"{alert.threshold_nats:.1f} was needed to speak up"
        ),
    )
    yield "Otherwise", alert.counterfactual
    if alert.decision_ids:
        yield "Done", f"{len(alert.decision_ids)} block(s) with an end, so that a mistake heals by itself"
    yield "To do", "the playbook of its detector; below is how to read it"


def next_steps(result: Result) -> tuple[tuple[str, str], ...]:
    """Commands, and what each is for."""
    alert = worked_alert(result)
    name = alert.detector if alert else result.detectors[0]
    return (
        (f"gatewatch detectors show {name}", "what it sees and misses, its limits, and what to do about its alerts"),
        ("gatewatch replay access.log --format combined --out out", "your own access log, sent to nobody"),
        ("gatewatch check --config gatewatch.yaml", "your settings, before anything starts"),
        ("gatewatch worker --config gatewatch.yaml", "the same on your Kafka, for good"),
    )


def as_json(result: Result) -> dict[str, Any]:
    """The scoreboard for programs. Only ``wall_s`` and ``events_per_s`` differ from run to run."""
    board = result.board
    return {
        "passed": board.passed,
        "seed": result.plan.seed,
        "rate": result.plan.rate,
        "hours": result.plan.hours,
        "events": result.events,
        "dead_letters": result.dead,
        "wall_s": round(result.wall_s, 2),
        "events_per_s": round(result.events / result.wall_s),
        "detectors": list(result.detectors),
        "attacks": [_attack_json(verdict) for verdict in board.verdicts],
        "false_alarms": [_alarm_json(alert) for alert in board.false_alarms],
        "false_alarms_per_day": round(len(board.false_alarms) / board.days, 2),
        "about_gatewatch": [_alarm_json(alert) for alert in board.about_us],
        "notes": [_alarm_json(alert) for alert in board.notes],
        "wrong_blocks": [{"scope": d.scope.value, "value": d.value} for d in board.wrong_blocks],
        "shadow_alerts": result.shadows,
    }


def _attack_json(verdict: Verdict) -> dict[str, Any]:
    return {
        "attack": verdict.attack,
        "needs": verdict.needs,
        "covered": verdict.covered,
        "caught": verdict.caught,
        "detector": verdict.detector,
        "others": list(verdict.others),
        "reason": verdict.title,
        "after_s": verdict.after_s,
        "events": verdict.events,
        "events_named": verdict.events_named,
        "blocked_after_s": verdict.blocked_after_s,
        "events_after_block": verdict.events_after_block,
    }


def _alarm_json(alert: Alert) -> dict[str, Any]:
    return {
        "detector": alert.detector,
        "severity": alert.severity.value,
        "scope": alert.scope.value,
        "key": alert.key,
        "reason": alert.reason,
        "summary": alert.summary,
        "first_ts": alert.first_ts,
    }
