"""Rate spikes of a principal or an address: requests, tokens, cost."""

from .detector import RateSpike

DETECTOR = RateSpike
