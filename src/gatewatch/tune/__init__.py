"""Offline: replay a file through the whole flow, and what is learned from it."""
