"""Gatewatch: who is abusing our model endpoints, and can we stop it now?

The flow goes one way: ingest, detect, decide, notify, enforce. ``docs/architecture.md`` shows the rooms.
"""

__version__ = "0.1.0"
