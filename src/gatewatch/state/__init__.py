"""Bounded state: keyed hashes, key tables, decay. What detectors and the detect role keep between rows."""
