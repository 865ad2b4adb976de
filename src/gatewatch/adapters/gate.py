"""What surprises does not teach: the rule that matters more than the choice of the model.

On KDD99-HTTP in file order, River's half-space trees reach an AUC of .736 when they learn everything, .998 when they do
not learn what surprises them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gatewatch.adapters.tail import Rarity

RELEASE_S = 86400.0  # DESIGN: a freeze of 24 h without a verdict ends
SHARE_EVENTS = 1000.0  # events over which the share of frozen ones is taken
UNHEARD_NATS = 9.2  # p 1e-4: leaving these out of the past shortens the fitted tail by 4 %, and keeps an attack out
BURST = 20.0  # frozen scores that may enter the past at once


class Verdict(NamedTuple):
    """What one event may do."""

    teach: bool  # the model learns it
    heard: bool  # its score is one of the past


class Gate:
    """Says of each event whether it may teach, and whether its score counts among the past.

    - An event rarer than ``freeze_nats`` does not teach.
      How rare is taken from how far out its score is: the hundredth of its kind would not be rare by its rank.
    - Its score still counts: else the rare scores would be missing from the past, what is left would look rarer than it
      is, and in the end everything would be frozen. But of such scores only as many as there should be, and ``BURST``
      more, so an attack does not become the new normal; and never one that is beyond the past (``UNHEARD_NATS``).
    - A world that has changed surprises for ever: when more than half of all events have been frozen for a day of event
      time, everything teaches until that is over. A single key cannot bring that about, unless half of the
      partition's traffic is its own for a day.
    """

    def __init__(self, freeze_nats: float) -> None:
        self._freeze = freeze_nats
        self._allowance = math.exp(-freeze_nats)
        self._tokens = BURST
        self._share = 0.0
        self._since = math.inf

    def judge(self, rarity: Rarity, now: float) -> Verdict:
        """What an event whose score is so rare may do. ``now``: event time, never going back."""
        frozen = rarity.fitted >= self._freeze
        self._tokens = min(BURST, self._tokens + self._allowance)
        self._share += (float(frozen) - self._share) / SHARE_EVENTS
        if self._share <= 0.5:
            self._since = math.inf
        elif self._since == math.inf:
            self._since = now
        if not frozen or now - self._since >= RELEASE_S:
            return Verdict(teach=True, heard=True)
        if rarity.nats >= UNHEARD_NATS or self._tokens < 1.0:
            return Verdict(teach=False, heard=False)
        self._tokens -= 1.0
        return Verdict(teach=False, heard=True)

    def snapshot(self) -> dict[str, npt.NDArray[Any]]:
        """Three numbers."""
        return {"gate": np.array([self._tokens, self._share, self._since])}

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Become what was saved."""
        self._tokens, self._share, self._since = arrays["gate"].tolist()
