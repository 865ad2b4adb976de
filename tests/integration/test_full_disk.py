"""A disk that is full says so in one line, leaves nothing half written, and what goes on goes on."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import msgspec
import pytest

from gatewatch.enforce.ledger import Ledger
from gatewatch.enforce.nginx import MapFiles
from gatewatch.testing.decisions import NOW, decision

pytestmark = pytest.mark.slow

GATEWATCH = str(Path(sys.executable).with_name("gatewatch"))
FULL = resource.RLIMIT_FSIZE  # what is longer than this cannot be written: as a full disk does, in the middle of a file


@contextmanager
def full_after(nbytes: int) -> Iterator[None]:
    """Let this process write files of so many bytes only."""
    soft, hard = resource.getrlimit(FULL)
    resource.setrlimit(FULL, (nbytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(FULL, (soft, hard))


def test_a_replay_that_runs_out_of_space_says_which_file_and_leaves_none(tmp_path: Path) -> None:
    """If this fails, who fills a disk reads a traceback, or takes half of the alerts for all of them."""
    rows = [{"ts": 1.7e9 + i / 10, "ip": "203.0.113.9", "status": 401, "auth": "failure", "account": f"a{i}"}
            for i in range(3000)]  # fmt: skip
    events, out = tmp_path / "events.jsonl", tmp_path / "out"
    events.write_bytes(b"\n".join(map(msgspec.json.encode, rows)))
    done = subprocess.run(
        [GATEWATCH, "replay", str(events), "--format", "native", "--out", str(out)],
        capture_output=True, text=True, check=False, preexec_fn=partial(resource.setrlimit, FULL, (1000, 1000)),
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == f"error: {out / 'alerts.jsonl'}: cannot be written: {os.strerror(errno.EFBIG)}\n"
    assert [path.name for path in out.iterdir() if path.stat().st_size] == []


def test_a_map_of_nginx_is_the_old_one_until_there_is_space_for_the_new(tmp_path: Path) -> None:
    """If this fails, nginx reads half a map when the disk is full: everybody on the other half is let in."""
    files, ledger = MapFiles(tmp_path, []), Ledger()
    ledger.apply(decision("203.0.113.9", id_="a"), 0, NOW)
    files.update(ledger.live(NOW))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for i in range(200):
        ledger.apply(decision(f"198.51.100.{i}", id_=f"b{i}"), i + 1, NOW)
    with full_after(1000), pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
        files.update(ledger.live(NOW))
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert files.update(ledger.live(NOW))
    assert b"198.51.100.199" in b"".join((tmp_path / name).read_bytes() for name in before)
