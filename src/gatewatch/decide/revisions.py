"""What an alert or an incident says beside what was found: whose it is, and under which settings it was judged."""

from __future__ import annotations

from collections.abc import Mapping

from gatewatch.catalog import Catalog, Ownership
from gatewatch.decide import alerts, story
from gatewatch.decide.cases import Case
from gatewatch.decide.episodes import Episode
from gatewatch.records import Alert, Finding, Incident, Scope, Status
from gatewatch.registry import Entry
from gatewatch.watch import reasons as watch


class Revisions:
    """Writes revisions; the catalog may change while it does.

    Args:
        entries: the detector folders: playbooks and tags.
        catalog: owners and sensitivity.
        config_hash: of the settings.
    """

    def __init__(self, entries: Mapping[str, Entry], catalog: Catalog, config_hash: str) -> None:
        self._entries, self._catalog = entries, catalog
        self.hashes = (config_hash, catalog.hash)  # of settings and catalog

    def use(self, catalog: Catalog) -> None:
        """Another catalog, from now on."""
        self._catalog = catalog
        self.hashes = (self.hashes[0], catalog.hash)

    def ownership(self, finding: Finding) -> Ownership:
        """Whose the thing is that a finding is about; our own findings are about nothing of anybody's."""
        if finding.detector == watch.NAME:
            return Ownership()

        def named(scope: Scope, name: str) -> str | None:
            return finding.key if finding.scope is scope else finding.context.get(name)

        return self._catalog.lookup(
            project=named(Scope.PROJECT, "project") or finding.project,
            endpoint=named(Scope.ENDPOINT, "endpoint"),
            model=finding.context.get("model"),
            principal=named(Scope.PRINCIPAL, "principal"),
        )

    def alert(self, episode: Episode, case: Case | None, offset: int, status: Status, note: str | None = None) -> Alert:
        """What is told of an episode, and of the case that it is part of; ``note`` is added to the summary."""
        entry = self._entries.get(episode.lead.detector)
        return alerts.revision(episode, entry, offset, self.hashes, status, note, None if case is None else case.id)

    def incident(self, case: Case, offset: int, now: float) -> Incident:
        """What is told of a case, when its task has passed ``now``."""
        return story.revision(case, offset, now, self.hashes)
