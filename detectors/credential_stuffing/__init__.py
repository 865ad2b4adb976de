"""Credential stuffing, spraying, cracking, and the takeover that follows; broken clients told apart."""

from .detector import CredentialStuffing
from .population import DistributedStuffing

DETECTOR = CredentialStuffing
POPULATION = DistributedStuffing
