"""``python -m gatewatch.metrics`` prints docs/metrics.md."""

from __future__ import annotations

import sys

from gatewatch.metrics import table

sys.stdout.write(table())
