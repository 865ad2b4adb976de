"""What a notice says, in the order in which somebody who was woken up needs it. Plain text; sinks escape it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from gatewatch.notify.notice import Notice
from gatewatch.records import SERIES_STEP_S, Alert, Mode, Scope, Severity, Status
from gatewatch.records.quantities import amount, number, span, usual

TITLE_MAX = 140  # Slack's header takes 150
VALUE_MAX = 300  # a stranger's longest string, cut: nobody reads more of it on a phone
SUMMARY_MAX = 1000
STEPS_MAX = 5
STEP_MAX = 700
MEMBERS_SHOWN = 10
SPARK_CELLS = 40  # of a picture of the rate: fits a phone's line
# Control, format (bidi overrides, zero width, tags), surrogate, private use, line and paragraph separators: nothing of
# these shows, and each can make a line read as something it is not.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
_STEP = re.compile(r"^\s*\d+[.)]\s+(.*(?:\n(?!\s*\d+[.)]\s)(?=[ \t]+\S).*)*)", re.MULTILINE)
_FIELD = re.compile(r"(\bscope )?(?:\{([a-z_.]+)\}|`(?:context\.)?([a-z_]+)`)")
_DECIMAL = re.compile(r"^\d{1,4}(\.\d{1,9})?$")
_NOTHING = re.compile(r"^0(\.0*)?$")
_SCHEME = re.compile(r"\b(h)tt(ps?)(?=:)", re.IGNORECASE)
_BARS = "▁▂▃▄▅▆▇█"
_LONG = frozenset({"samples", "contributions", "series", "tags", "context", "decision_ids", "summary"})
# Fields that a playbook names and a message shows elsewhere, by what they are called there
_ELSEWHERE = {
    "contributions": "contributions (see Why)",
    "samples": "rows (see Rows)",
    "baseline": "baseline (see Compared with)",
}
# What a gateway can tell apart in a request; the other scopes are what something is done to
_CALLERS = frozenset({Scope.PRINCIPAL, Scope.CREDENTIAL, Scope.ACCOUNT, Scope.IP, Scope.NETWORK})
_SAYS_NATS = 0.05  # a part of the score that is +0.0 when it is written says nothing
_PLAIN = frozenset({"first_ts", "last_ts", "valid_until", "escalation"})  # their value says enough


@dataclass(frozen=True, slots=True)
class Words:
    """One notice in words.

    Args:
        title: what and who.
        summary: the story in one line.
        line: both, where there is room for one line only.
        facts: name and value; the first few are what matters most.
        details: more of them, for a second screen.
        members: what belongs to the incident, one line each.
        why: the parts of the score.
        steps: what to do, with the alert's own values.
        spark: the key's rate as a row of bars, with its numbers, or nothing.
        command: explains it on a terminal, and makes it again from what Kafka holds.
    """

    title: str
    summary: str
    line: str
    facts: tuple[tuple[str, str], ...]
    details: tuple[tuple[str, str], ...]
    members: tuple[str, ...]
    why: tuple[str, ...]
    steps: tuple[str, ...]
    spark: str
    command: str


def words_of(notice: Notice) -> Words:
    """Say it."""
    alert = notice.alert
    return Words(
        title=cut(_title(notice), TITLE_MAX),
        summary=shown(notice.summary, SUMMARY_MAX),
        line=cut(_line(notice), SUMMARY_MAX),
        facts=tuple(_filled(_facts(notice))),
        details=tuple(_filled(_details(alert))),
        members=tuple(_members(notice)),
        why=tuple(
            f"{shown(c.text)} ({c.nats:+.1f} nats)" for c in alert.contributions[:10] if abs(c.nats) >= _SAYS_NATS
        ),
        steps=tuple(steps_of(alert, notice.playbook)),
        spark=_rate(alert.series),
        command="; ".join(f"gatewatch alerts {verb} {visible(alert.id, 64)}" for verb in ("explain", "replay")),
    )


def steps_of(alert: Alert, playbook: str) -> list[str]:
    """The playbook's numbered steps with the alert's own values, numbers with their units.

    ``{name}`` becomes the value; a field in backticks keeps its name beside it, where the value alone would not do.
    """
    values = _values(alert)

    def filled(match: re.Match[str]) -> str:
        before, braced, quoted = match[1] or "", match[2], match[3]
        if braced is not None:
            return before + shown(values.get(braced.rsplit(".", 1)[-1], "unknown"), 128)
        value = values.get(quoted)
        if quoted in _ELSEWHERE or before or value is None:  # "with scope `ip`" names a kind of key, not this one
            return before + _ELSEWHERE.get(quoted, quoted)
        if quoted == "key":
            return f"{alert.scope.value} {shown(value, 128)}"
        if quoted in _PLAIN:
            return shown(value, 128)
        within = match.string.count("(", 0, match.start()) > match.string.count(")", 0, match.start())
        return f"{_name(quoted)} {shown(value, 128)}" if within else f"{_name(quoted)} ({shown(value, 128)})"

    steps = (" ".join(step.split()).replace("**", "") for step in _STEP.findall(playbook)[:STEPS_MAX])
    return [cut(_FIELD.sub(filled, step).replace("`", ""), STEP_MAX) for step in steps]


def _name(field: str) -> str:
    """A field's name without its unit, which stands beside the value."""
    return field.removesuffix("_s").replace("_", " ")


def _values(alert: Alert) -> dict[str, str]:
    """What a playbook may name, as people read it."""
    values = {
        name: str(value)
        for name, value in alert.model_dump(mode="json").items()
        if name not in _LONG and value not in (None, "")
    }
    values |= {name: utc(getattr(alert, name)) for name in ("first_ts", "last_ts", "valid_until")}
    values |= {name: amount(getattr(alert, name), alert.unit) for name in ("observed", "expected")}
    values |= {name: f"{number(getattr(alert, name))} nats" for name in ("nats", "threshold_nats")}
    values |= {"window_s": span(alert.window_s), "p": f"{alert.p:.2g}"}
    values.setdefault("owner", "the catalog names nobody")
    values.setdefault("escalation", "whoever decides (the catalog names nobody)")
    return values | alert.context


def visible(text: str, most: int = VALUE_MAX) -> str:
    r"""Without characters that do not show, on one line, cut: what a stranger wrote must not move the rest.

    >>> visible("acme\n\u202egnp.exe")
    'acme gnp.exe'
    """
    clean = "".join(" " if unicodedata.category(c) in _UNSEEN else c for c in text[: 4 * most])
    return cut(" ".join(clean.split()), most)


def shown(text: str, most: int = VALUE_MAX) -> str:
    """For people: also no link comes alive that a stranger wrote.

    >>> shown("see https://evil.test")
    'see hxxps://evil.test'
    """
    return cut(_SCHEME.sub(r"\1xx\2", visible(text, most)), most)


def cut(text: str, most: int) -> str:
    """At most ``most`` characters, with an ellipsis where something is missing."""
    return text if len(text) <= most else text[: most - 1] + "…"


def utc(ts: float) -> str:
    """A time for people.

    >>> utc(1795491465.5)
    '2026-11-24 03:37:45 UTC'
    """
    return datetime.fromtimestamp(min(max(ts, 0.0), 253_402_300_799.0), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def rfc3339(ts: float) -> str:
    """A time for programs.

    >>> rfc3339(1795491465.5)
    '2026-11-24T03:37:45.500000+00:00'
    """
    return datetime.fromtimestamp(min(max(ts, 0.0), 253_402_300_799.0), UTC).isoformat()


def spark(series: Sequence[float]) -> str:
    """A rate as a row of bars, the highest of each stretch.

    >>> spark([0, 0, 1, 2, 8])
    '▁▁▂▃█'
    """
    values = [v for v in series if v == v and v >= 0.0]  # noqa: PLR0124 - not NaN
    if not values or max(values) in (0.0, float("inf")):
        return ""
    n = min(len(values), SPARK_CELLS)
    cells = [max(values[i * len(values) // n : (i + 1) * len(values) // n]) for i in range(n)]
    return "".join(_BARS[round(v / max(cells) * (len(_BARS) - 1))] for v in cells)


def _rate(series: Sequence[float]) -> str:
    """The key's rate in bars and in numbers."""
    bars = spark(series)
    if not bars:
        return ""
    now, lasted = amount(series[-1], "requests a minute"), span(len(series) * SERIES_STEP_S)
    return f"{bars} {now} now, {number(max(series))} at most in the last {lasted}"


def measured(alert: Alert) -> str:
    """What was seen, with its unit, beside what was expected."""
    times = alert.observed / alert.expected if alert.expected > 0 else 0.0
    over = f" over {span(alert.window_s)}" if alert.window_s > 0 else ""
    factor = f", {times:,.0f} times as many" if times >= 2 else ""
    return f"{amount(alert.observed, shown(alert.unit, 60))}{over}; expected {usual(alert.expected)}{factor}"


def _title(notice: Notice) -> str:
    what, key = _what(notice), shown(notice.alert.key)
    scope = "" if notice.alert.scope is Scope.ALL else f"{notice.alert.scope.value} "
    who = "" if key in what else f": {scope}{key}"
    return f"{_state(notice)} {what}{who}"


def _line(notice: Notice) -> str:
    """A story begins with what it is about; the summary of one alert may not."""
    summary, what = shown(notice.summary, SUMMARY_MAX), _what(notice)
    return f"{_state(notice)} {summary}" if summary.startswith(what) else f"{_title(notice)} - {summary}"


def _what(notice: Notice) -> str:
    return shown(notice.incident.title if notice.incident is not None else notice.alert.title)


def _state(notice: Notice) -> str:
    before = "Resolved: " if notice.status is Status.RESOLVED else "Not acknowledged: " if notice.escalated else ""
    return f"{before}{notice.severity.value.upper()}"


def _facts(notice: Notice) -> Iterator[tuple[str, str]]:
    alert, incident = notice.alert, notice.incident
    first = incident.first_ts if incident is not None else alert.first_ts
    yield "Since", utc(first)
    yield "Measured", measured(alert)
    yield "Compared with", shown(alert.baseline)
    yield "How sure", f"{alert.nats:.1f} nats of surprise; {alert.threshold_nats:.1f} are enough for an alert"
    yield "Done", _done(notice)
    owner = (incident.owner if incident is not None else None) or alert.owner
    escalation = f", escalate to {shown(alert.escalation, 100)}" if alert.escalation else ""
    yield "Owner", (shown(owner) if owner else "nobody owns it in the catalog") + escalation
    yield "Project", shown(alert.project or "")
    yield "Acknowledged", shown(f"by {notice.acknowledged_by}") if notice.acknowledged_by else "by nobody yet"
    yield "Verdict", shown(notice.verdict or "")
    if incident is not None and max(incident.members_total, incident.alerts_total) > 1:
        yield "Keys", f"{incident.members_total:,} in {amount(incident.alerts_total, 'alerts')}"


def _details(alert: Alert) -> Iterator[tuple[str, str]]:
    yield "Otherwise", shown(alert.counterfactual)
    for name, value in sorted(alert.context.items())[:20]:
        if name != "share" or not _NOTHING.match(value):
            yield _beside(name, value)
    yield "Rows", ", ".join(shown(sample, 120) for sample in alert.samples[:5])
    yield "Tags", ", ".join(shown(tag, 40) for tags in alert.tags.values() for tag in tags)
    yield "Detector", f"{shown(alert.detector, 60)} {alert.detector_version}, settings {shown(alert.config_hash, 20)}"


def _beside(name: str, value: str) -> tuple[str, str]:
    """Something else that is known of the row; what only guards need has a name and a unit that people understand."""
    if name == "share":
        return "share of what is served", f"{100.0 * float(value):.3g} %" if _DECIMAL.match(value) else shown(value)
    if name == "healthy_principals":
        return "callers in good health there", shown(value)
    return shown(name.replace("_", " "), 60), shown(value)


def _filled(facts: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    return ((name, value) for name, value in facts if value)


def _members(notice: Notice) -> Iterator[str]:
    if notice.incident is None:
        return
    for member in notice.incident.members[:MEMBERS_SHOWN]:
        what = ", ".join(shown(d, 60) for d in member.detectors[:5])
        yield f"{member.severity.value.upper()} {member.scope.value} {shown(member.key, 100)}: {what}"
    if (more := notice.incident.members_total - MEMBERS_SHOWN) > 0:
        yield f"and {more:,} more"


def _done(notice: Notice) -> str:
    alert, incident = notice.alert, notice.incident
    if notice.waiting:
        command = f"gatewatch verdicts add {visible(notice.key, 64)} --kind approve --reason ..."
        return f"nothing yet: orders wait for a second person ({command})"
    n = incident.decisions_total if incident is not None else len(alert.decision_ids)
    if n:
        return f"stopped by {n} decision{'s' if n > 1 else ''}: {', '.join(alert.decision_ids[:3])}".rstrip(": ")
    if alert.scope not in _CALLERS:
        return "nothing: it names no caller that a gateway could stop"
    return "nothing: mode block would stop it" if alert.mode is not Mode.BLOCK else "nothing was stopped"


# OCSF's numbers (contracts.md 7.1), and PagerDuty's words (10.1)
OCSF = {severity: number for number, severity in enumerate(Severity, 1)}
PAGERDUTY = {
    Severity.CRITICAL: "critical",
    Severity.HIGH: "error",
    Severity.MEDIUM: "warning",
    Severity.LOW: "info",
    Severity.INFO: "info",
}
