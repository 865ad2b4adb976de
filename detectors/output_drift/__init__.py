"""Output drift: a model's answers are no longer what they were."""

from .population import OutputDrift

POPULATION = OutputDrift
