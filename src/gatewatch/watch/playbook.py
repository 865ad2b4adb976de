"""What to do when Gatewatch says that it cannot see: one section a reason."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from gatewatch.watch.reasons import NAME

FILE = "PLAYBOOK.md"
PATH = f"src/gatewatch/watch/{FILE}"  # as alerts name it
_HEAD = re.compile(r"^## (\w+)$", re.MULTILINE)


@cache
def playbooks() -> dict[str, str]:
    """The sections, by detector and reason: ``gatewatch/behind``."""
    text = (files("gatewatch.watch") / FILE).read_text(encoding="utf-8")
    _before, *parts = _HEAD.split(text)
    return {f"{NAME}/{reason}": body.strip() for reason, body in zip(parts[::2], parts[1::2], strict=True)}
