"""Kernels are compiled apart from the process that wants them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from pathlib import Path

import pytest

from gatewatch.clock import stopwatch
from gatewatch.detect import compile as compiling

# A detector whose compiler never ends: it says that it has begun, and waits
_ENDLESS = """
import threading
from pathlib import Path
Path(__file__).with_name("begun").touch()
threading.Event().wait()
"""
WAIT_S = 60.0


def test_ctrl_c_ends_the_compilers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, Ctrl-C in the first run does nothing for a minute, and leaves processes that go on compiling."""
    folder = tmp_path / "endless"
    folder.mkdir()
    (folder / "__init__.py").write_text(_ENDLESS, encoding="utf-8")
    monkeypatch.setenv("GATEWATCH_DETECTORS_PATH", str(tmp_path))
    others = set(multiprocessing.active_children())

    def interrupt() -> None:
        deadline = stopwatch() + WAIT_S
        while not (folder / "begun").exists() and stopwatch() < deadline:
            threading.Event().wait(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        compiling._compile_apart(["endless"])
    assert set(multiprocessing.active_children()) <= others
