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
    own_network = [str(program("unshare", "util-linux")), *rights, "--net"]
    tried = subprocess.run([*own_network, "true"], capture_output=True, text=True, check=False)
    if "Operation not permitted" in tried.stderr:  # a container may not; docs/enforcement.md says what was shown where
        pytest.skip(f"this machine lets nobody make a network name space: {tried.stderr.strip()}")
    inside = [sys.executable, "-m", "tests.integration.behind_a_firewall", str(tmp_path)]
    done = subprocess.run(
        [*own_network, *inside], cwd=ROOT, capture_output=True, text=True,
        timeout=240.0, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "before attacker customer",
        "blocked customer",
        "unblocked attacker customer",
    ], done.stderr
