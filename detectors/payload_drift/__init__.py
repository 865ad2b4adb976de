"""Bodies that are not what this endpoint and this caller are used to: structure, characters, sizes, plain limits."""

from .detector import PayloadDrift
from .population import PayloadMix

DETECTOR = PayloadDrift
POPULATION = PayloadMix
