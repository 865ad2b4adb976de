"""Faults on a real broker, and whether anything was lost, doubled or told differently.

``python -m gatewatch.testing.chaos`` is the long form (`make chaos`), ``tests/chaos`` the short one.
"""
