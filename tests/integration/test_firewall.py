"""Debian's firewall bouncer on our bouncer API, with a real kernel: packets of whom we block are dropped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gatewatch.testing.debian import program

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


def test_the_kernel_drops_the_packets_of_whom_we_block_and_of_nobody_else(tmp_path: Path) -> None:
    """If this fails, the firewall bouncer follows us, and the attacker's packets come through all the same."""
    rights = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]  # to change a network of one's own is enough
    inside = [sys.executable, "-m", "tests.integration.behind_a_firewall", str(tmp_path)]
    done = subprocess.run(
        [program("unshare", "util-linux"), *rights, "--net", *inside], cwd=ROOT, capture_output=True, text=True,
        timeout=240.0, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "before attacker customer",
        "blocked customer",
        "unblocked attacker customer",
    ], done.stderr
