"""The evaluation's scripts are no package: they are found where they stand."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "evaluation"))
