"""What is known of kernels that were compiled before."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from gatewatch.state import jit


def _detector(folder: Path, name: str) -> type:
    """The class ``Own`` of a module in ``folder``, as if it were a detector."""
    folder.mkdir()
    file = folder / "detector.py"
    file.write_text("class Own:\n    pass\n", encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    own: type = module.Own
    return own


def test_kernels_of_another_installation_are_not_taken_for_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker of a second installation would compile in its own process, and keep the compiler's 700 MB for good."""
    monkeypatch.setattr(jit, "_chosen", str(tmp_path / "cache"))
    mine, other = _detector(tmp_path / "mine", "own_detector_1"), _detector(tmp_path / "other", "own_detector_2")
    assert not jit.is_compiled(mine)
    jit.mark_compiled(mine)
    assert jit.is_compiled(mine)
    assert not jit.is_compiled(other)  # Numba's cache knows a file by its place
