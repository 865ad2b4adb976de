"""Detect: what is unusual. One task for each routed partition, one instance of every detector in each task."""
