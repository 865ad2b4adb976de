"""The log under everything: Kafka in production, memory for replay and most tests, files at the edges.

:mod:`gatewatch.log.base` is the seam; nothing outside this room imports a Kafka client.
"""
