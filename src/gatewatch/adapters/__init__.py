"""Detectors in plain Python: for a team's own model where a kernel is not worth its while, or River has it already.

A :class:`PerEventDetector` asks a model ``score(event)``, then lets it ``learn(event)``; a :class:`RiverDetector` gets
its model from its config, by import path. Both look after what models forget: that what alarms must not teach, that a
score is no probability, that memory ends, that state must survive a restart without a pickle.

They cost microseconds to milliseconds a row, so they run in the slow lane: a consumer group of their own.
"""

from gatewatch.adapters.per_event import PerEventConfig, PerEventDetector
from gatewatch.adapters.river_detector import RiverConfig, RiverDetector
from gatewatch.adapters.river_model import ModelSpec
from gatewatch.adapters.rows import EventModel
from gatewatch.adapters.stream import score_stream
from gatewatch.adapters.surprisal import Surprisal

__all__ = [
    "EventModel",
    "ModelSpec",
    "PerEventConfig",
    "PerEventDetector",
    "RiverConfig",
    "RiverDetector",
    "Surprisal",
    "score_stream",
]
