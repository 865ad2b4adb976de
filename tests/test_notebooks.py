"""Notebooks run from top to bottom on what a replay leaves behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from gatewatch.records import Severity
from gatewatch.testing.alerts import alert

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"

# The Jupyter client is another program to us: what it warns about is not ours.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


def executed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Outputs of the notebook, run on a folder."""
    monkeypatch.setenv("GATEWATCH_OUT", str(folder))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    notebook = nbformat.read(NOTEBOOKS / "alerts.ipynb", as_version=4)
    NotebookClient(
        notebook, timeout=240, startup_timeout=240, resources={"metadata": {"path": str(NOTEBOOKS)}}
    ).execute()
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def test_alerts_are_listed_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the first thing an analyst opens after a replay ends in a traceback."""
    made = [
        alert(id="a1", key="203.0.113.7", severity=Severity.HIGH),
        alert(id="a2", key="203.0.113.8", severity=Severity.MEDIUM, reason="limit", expected=0.0),
        alert(id="a3", key="batch-7", detector="credential_stuffing", reason="spraying", severity=Severity.CRITICAL),
    ]
    (tmp_path / "alerts.jsonl").write_text("".join(a.model_dump_json() + "\n" for a in made), encoding="utf-8")
    outputs = executed(tmp_path, monkeypatch)
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
    table = outputs[0]["data"]["text/plain"]
    assert all(key in table for key in ("203.0.113.7", "203.0.113.8", "batch-7"))


def test_a_replay_without_alerts_is_told_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise good news looks like a broken notebook."""
    (tmp_path / "alerts.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(CellExecutionError, match="holds no alert"):
        executed(tmp_path, monkeypatch)


def test_notebooks_are_kept_without_outputs() -> None:
    """Otherwise somebody's real callers are committed with a picture."""
    for path in NOTEBOOKS.glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        assert not [cell for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")], path.name
