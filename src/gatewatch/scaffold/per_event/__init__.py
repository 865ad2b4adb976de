"""Answers that are far larger than those that a principal usually gets."""

from .detector import NewDetector

DETECTOR = NewDetector
