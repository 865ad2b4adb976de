"""When Gatewatch says that it cannot see."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gatewatch.records import Mode
from gatewatch.settings.base import Duration, Section


class WatchSettings(Section):
    """Alerts of the detector ``gatewatch``, about itself. They never block anybody."""

    mode: Literal[Mode.OFF, Mode.SHADOW, Mode.ALERT] = Mode.ALERT
    behind: Duration = 300.0  # ten times what a killed worker needs to be back and caught up
    silence: Duration = 300.0  # the least; a source's own usual gap, learned, makes it longer
    silence_max: Duration = 86400.0  # the most: nights are usual, whole days are not
    # Of all elements, over some five minutes: a few broken lines are normal, one in a hundred is a format that changed
    dead_letter_share: float = Field(0.01, gt=0, le=1)
    # Of a table's rows: at that rate a key that comes once in two hours is not known when it comes back
    evicted_share: float = Field(0.5, gt=0)
