"""The page that `make evaluate` writes: nothing hidden, nothing that breaks a table."""

from __future__ import annotations

import datetime as dt
import importlib
from collections.abc import Iterator
from types import ModuleType

import pytest
from everything import MODULES, Section, render, section_of
from figures import Figure

WHEN = dt.datetime(2026, 11, 24, 12, 0, tzinfo=dt.UTC)


def _page(*figures: Figure, failure: str = "") -> str:
    return render([Section("openssh", "A set", "Measured on x.", figures, 1.0, failure)], WHEN, "2 cores")


def test_misses_stand_first() -> None:
    """If this fails, a reader must search the tables for what does not work."""
    page = _page(
        Figure("a", "0.5", ">= .9", met=False), Figure("b", "1.0", ">= .9", met=True), Figure("c", "1"),
        Figure("d", "not shipped", "0"),
    )  # fmt: skip
    assert "1 of 3 targets are met." in page
    missed = page.split("## What is missed")[1].split("\n## ")[0]
    assert "a: **0.5**" in missed
    assert "d: **not shipped**" in missed
    assert "b:" not in missed


def test_what_logs_hold_does_not_break_the_table() -> None:
    """If this fails, a path in a log with a bar or a tag rewrites the published page."""
    row = next(line for line in _page(Figure("a", "x|y\n<b>", note="*z*")).splitlines() if line.startswith("| a "))
    assert row.count(" | ") == 6
    assert "<b>" not in row
    assert "x\\|y" in row


def test_a_module_that_fails_is_said_to_have_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, one broken data set costs the whole page, or vanishes from it."""
    broken = ModuleType("broken")
    broken.__dict__.update(TITLE="Broken", ON="Nothing.", run=_raises)
    monkeypatch.setattr("everything.importlib.import_module", lambda _name: broken)
    section = section_of("broken")
    assert section.failure == "ValueError"
    assert "**Did not run: ValueError.**" in render([section], WHEN, "2 cores")


def _raises() -> Iterator[Figure]:
    raise ValueError("secret of a log line")


@pytest.mark.parametrize("name", MODULES)
def test_each_module_says_what_it_measures_on(name: str) -> None:
    """If this fails, `make evaluate` breaks after minutes, at a module without a title or a run."""
    module = importlib.import_module(name)
    assert module.TITLE
    assert len(module.ON) > 80
    assert callable(module.run)
