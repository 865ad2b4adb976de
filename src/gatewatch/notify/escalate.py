"""What nobody has acknowledged in time is told to somebody else as well."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from gatewatch.notify.notice import Notice
from gatewatch.settings import Escalation


@dataclass(slots=True)
class Escalations:
    """Which conversations were escalated. ``done`` is rebuilt from `actions`."""

    settings: Escalation | None
    done: dict[str, None] = field(default_factory=dict)

    def due(self, notices: Iterable[tuple[Notice, float | None]], now: float) -> list[str]:
        """Keys of open conversations that are due, with when somebody was told first. Each is named once."""
        if self.settings is None:
            return []
        late = [
            notice.key
            for notice, told_at in notices
            if notice.key not in self.done
            and told_at is not None
            and now - told_at >= self.settings.after
            and notice.severity.rank >= self.settings.severity.rank
            and notice.acknowledged_by is None
        ]
        self.done.update(dict.fromkeys(late))
        return late
