"""An episode, as one revision of an alert."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from gatewatch.decide.episodes import Episode
from gatewatch.decide.guards import PAGING
from gatewatch.decide.severity import at_least
from gatewatch.decide.text import clean, sentence
from gatewatch.records import Alert, Contribution, ContributionModel, Finding, Mode, Severity, Status
from gatewatch.records.quantities import span
from gatewatch.registry import Entry
from gatewatch.watch import playbook

P_FLOOR = 1e-12  # smaller ones only say that the model of normal has ended (algorithms.md F)
# An alert stays far below the 1 MiB that a record may have, whatever a detector says
PARTS_MAX = 32
LINE_CAP = 512
SERIES_MAX = 48  # detect gives 24
CLOSED_EARLY = "closed early: more episodes are open than are kept"


def revision(
    episode: Episode,
    entry: Entry | None,
    offset: int,
    hashes: tuple[str, str],
    status: Status,
    note: str | None = None,
    incident_id: str | None = None,
) -> Alert:
    """What a person is told of an episode now; ``note`` is added to the summary.

    ``entry`` is ``None`` where the finding is our own (``own.py``); ``hashes`` are those of settings and catalog.
    """
    lead = episode.lead
    return Alert(
        id=episode.id,
        revision=offset,
        status=status,
        severity=severity_of(episode),
        mode=episode.mode,
        detector=lead.detector,
        detector_version=lead.version,
        scope=lead.scope,
        key=lead.key,
        reason=lead.reason,
        title=lead.title,
        summary=_summary(episode, note),
        project=lead.project,
        first_ts=episode.first_ts,
        last_ts=episode.last_ts,
        valid_until=episode.due if status is Status.RESOLVED else episode.valid_until,
        count=episode.count,
        nats=lead.nats,
        p=min(max(math.exp(-max(lead.nats, 0.0)), P_FLOOR), 1.0),
        observed=lead.observed,
        expected=lead.expected,
        unit=lead.unit,
        window_s=lead.window_s,
        threshold_nats=lead.threshold_nats,
        baseline=clean(lead.explanation.baseline, LINE_CAP),
        counterfactual=clean(lead.explanation.counterfactual, LINE_CAP),
        contributions=_contributions(lead.explanation.contributions),
        samples=episode.samples,
        context=_context(episode),
        owner=episode.ownership.owner,
        escalation=episode.ownership.escalation,
        tags=_tags(entry, lead) if entry is not None else {},
        playbook=f"{lead.detector}/PLAYBOOK.md" if entry is not None else playbook.PATH,
        decision_ids=tuple(sorted(d.id for d in episode.decisions.values())),
        config_hash=hashes[0],
        catalog_hash=hashes[1],
        incident_id=incident_id,
        acknowledged_by=episode.acknowledged_by,
        verdict=episode.verdict,
        held_until=episode.held_until,
        waiting=episode.waiting,
        series=episode.series[-SERIES_MAX:],
    )


def severity_of(episode: Episode) -> Severity:
    """A guard that leaves the rest to a person makes it urgent: nobody else stops the attack."""
    if any(guard in PAGING for guard, _reason in episode.refused.values()):
        return at_least(episode.severity, Severity.HIGH)
    return episode.severity


def _summary(episode: Episode, note: str | None) -> str:
    parts = [sentence(episode.lead)]
    if episode.count > 1:
        parts.append(f"{episode.count} findings in {span(max(episode.last_ts - episode.first_ts, 0.0))}")
    parts += [f"no order ({guard}): {reason}" for guard, reason in list(episode.refused.values())[:1]]
    if episode.mode is Mode.SHADOW:
        parts.append("shadow: recorded, not sent")
    if note is not None:
        parts.append(note)
    return "; ".join(parts)


def _context(episode: Episode) -> dict[str, str]:
    context = {name: clean(text) for name, text in episode.lead.context.items()}
    if episode.ownership.note is not None:
        context["unowned"] = clean(episode.ownership.note, 256)
    if episode.waiting:
        but = f", not {clean(episode.asked_by)}" if episode.asked_by is not None else ""
        context["approval"] = (
            f"orders wait for a second person{but}: gatewatch verdicts add {episode.id} --kind approve --reason ..."
        )
    if episode.refused:
        context["refused"] = "; ".join(f"{guard}: {reason}" for guard, reason in episode.refused.values())
    return context


def _contributions(parts: Sequence[Contribution]) -> tuple[ContributionModel, ...]:
    """The parts of the score; they still add up where a detector gave more of them than an alert has room for."""
    shown = [
        ContributionModel(name=clean(c.name), nats=c.nats, text=clean(c.text, LINE_CAP)) for c in parts[:PARTS_MAX]
    ]
    if rest := parts[PARTS_MAX:]:
        nats = sum(c.nats for c in rest)
        shown.append(ContributionModel(name="other", nats=nats, text=f"{len(rest)} more parts"))
    return tuple(shown)


def _tags(entry: Entry, finding: Finding) -> dict[str, tuple[str, ...]]:
    """The detector's tags, and those of the reason, each once and in order."""
    tags: dict[str, tuple[str, ...]] = dict(entry.defaults.tags)
    extra: Mapping[str, tuple[str, ...]] = entry.defaults.reason_tags.get(finding.reason, {})
    for taxonomy, ids in extra.items():
        tags[taxonomy] = tuple(dict.fromkeys((*tags.get(taxonomy, ()), *ids)))
    return tags
