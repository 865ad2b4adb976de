"""Projects whose callers are refused more often than anybody should be."""

from .population import NewDetector

POPULATION = NewDetector
