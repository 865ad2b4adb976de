"""Ingest: what arrived. Reads the gateways' topics, writes `routed` and `dead-letters`; keeps no state of its own."""
