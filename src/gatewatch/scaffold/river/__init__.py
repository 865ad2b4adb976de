"""Requests whose sizes do not fit together as those of others do."""

from .detector import NewDetector

DETECTOR = NewDetector
