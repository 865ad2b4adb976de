"""The page about metrics, from their specifications."""

from __future__ import annotations

from gatewatch.metrics.specs import SPECS


def table() -> str:
    """The text of docs/metrics.md."""
    lines = [
        "# Metrics",
        "",
        "Made from `src/gatewatch/metrics/specs.py` by `python -m gatewatch.metrics`; a test holds the two together.",
        "Each worker process serves its own at `/metrics`. Labels come from closed sets: nothing that a stranger can",
        "write is ever a label. [operations.md](operations.md) says which ones to alert on.",
        "",
        "| name | type | unit | labels | meaning |",
        "|---|---|---|---|---|",
    ]
    for spec in SPECS:
        labels = "; ".join(f"`{label.name}`: {label.values}" for label in spec.labels)
        lines.append(f"| `{spec.name}` | {spec.kind} | {spec.unit} | {labels} | {spec.meaning} |")
    return "\n".join(lines) + "\n"
