"""How Gatewatch itself is watched: metrics and probes over HTTP, and its own log."""
