"""Principals that take away too much at once."""

from .detector import NewDetector

DETECTOR = NewDetector
