"""How often tasks save what they know."""

from __future__ import annotations

from gatewatch.settings.base import Duration, Section


class StateSettings(Section):
    """Snapshots of the tasks of detect, and of decide, in the topic `state`."""

    every: Duration = 60.0  # each task; a restart reads again at most this much of `routed` or `findings`
