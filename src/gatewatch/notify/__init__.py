"""Notify: whom to tell. Reads `alerts`, tells people and other systems, records what it did in `actions`."""
