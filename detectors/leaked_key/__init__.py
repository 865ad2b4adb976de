"""Keys that are used by somebody else too: from a place where they never were, beside their owner, or in a burst."""

from .detector import LeakedKey

DETECTOR = LeakedKey
