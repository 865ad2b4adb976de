"""What an alert says, in the order in which somebody who was woken up needs it. Plain text; sinks escape it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from gatewatch.records import Alert, Mode, Severity, Status

TITLE_MAX = 140  # Slack's header takes 150
VALUE_MAX = 300  # a stranger's longest string, cut: nobody reads more of it on a phone
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
_STEP = re.compile(r"^\s*\d+[.)]\s+(.*)$", re.MULTILINE)
_FIELD = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True, slots=True)
class Words:
    """One alert in words."""

    title: str
    summary: str
    facts: tuple[tuple[str, str], ...]  # name, value
    why: tuple[str, ...]
    steps: tuple[str, ...]


def words_of(alert: Alert, playbook: str) -> Words:
    """Say it."""
    state = "" if alert.status is not Status.RESOLVED else "Resolved: "
    title = f"{state}{alert.severity.value.upper()} {alert.title}: {alert.scope.value} {visible(alert.key)}"
    return Words(
        title=cut(title, TITLE_MAX),
        summary=visible(alert.summary, 1000),
        facts=tuple(_facts(alert)),
        why=tuple(f"{visible(c.text)} ({c.nats:+.1f} nats)" for c in alert.contributions),
        steps=tuple(steps_of(alert, playbook)),
    )


def steps_of(alert: Alert, playbook: str) -> list[str]:
    """The playbook's numbered steps, with ``{field}`` replaced by the alert's own values."""
    values = {**{name: str(value) for name, value in alert.model_dump(mode="json").items()}, **alert.context}
    return [
        visible(_FIELD.sub(lambda m: visible(values.get(m[1], "unknown"), 128), step), 500)
        for step in _STEP.findall(playbook)
    ][:5]


def visible(text: str, most: int = VALUE_MAX) -> str:
    r"""Without control and bidirectional characters, on one line, cut: what a stranger wrote must not move the rest.

    >>> visible("acme\n\u202egnp.exe")
    'acme gnp.exe'
    """
    return cut(_UNSEEN.sub("", text.replace("\n", " ").replace("\t", " ")), most)


def cut(text: str, most: int) -> str:
    """At most ``most`` characters, with an ellipsis where something is missing."""
    return text if len(text) <= most else text[: most - 1] + "…"


def utc(ts: float) -> str:
    """A time for people.

    >>> utc(1795491465.5)
    '2026-11-24 03:37:45 UTC'
    """
    return datetime.fromtimestamp(ts, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _facts(alert: Alert) -> list[tuple[str, str]]:
    facts = [
        ("Since", utc(alert.first_ts)),
        ("Observed", f"{alert.observed:,.4g} {alert.unit} (expected {alert.expected:,.4g})"),
        ("Usual", visible(alert.baseline)),
        ("Would not have fired", visible(alert.counterfactual)),
        ("Owner", visible(alert.owner) if alert.owner else "nobody owns it in the catalog"),
        ("Done", _done(alert)),
    ]
    if alert.project:
        facts.append(("Project", visible(alert.project)))
    facts += [(name.replace("_", " "), visible(value)) for name, value in sorted(alert.context.items())]
    return [(name, value) for name, value in facts if value]


def _done(alert: Alert) -> str:
    if alert.decision_ids:
        return f"stopped by {len(alert.decision_ids)} decision(s): {', '.join(alert.decision_ids[:3])}"
    return "nothing: mode block would stop it" if alert.mode is not Mode.BLOCK else "nothing was stopped"


# OCSF's numbers, and PagerDuty's and Alertmanager's words for them (contracts.md 10.1)
PAGERDUTY = {
    Severity.CRITICAL: "critical",
    Severity.HIGH: "error",
    Severity.MEDIUM: "warning",
    Severity.LOW: "info",
    Severity.INFO: "info",
}
