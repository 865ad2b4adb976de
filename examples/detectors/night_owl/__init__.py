"""Principals that are active at an hour of the day at which they never were."""

from .detector import NightOwl

DETECTOR = NightOwl
