"""What a target is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from random import Random


class Target(ABC):
    """One thing that is fed."""

    name: str

    @abstractmethod
    def round(self, random: Random) -> int:
        """Feed it once; how many inputs that were."""
