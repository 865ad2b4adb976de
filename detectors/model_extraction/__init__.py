"""Model extraction: callers who harvest a model's answers systematically."""

from .detector import ModelExtraction

DETECTOR = ModelExtraction
