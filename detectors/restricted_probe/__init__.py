"""Probing of what a caller may not use: refused resources, guessed names, canaries."""

from .detector import RestrictedProbe

DETECTOR = RestrictedProbe
