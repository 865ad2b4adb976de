"""A real Alertmanager for tests: the one on PATH, else Debian's package, unpacked without installing it.

Never a skip: where neither can be had, the error says what to install.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx

from gatewatch.clock import stopwatch

START_S = 60.0  # it takes less than a second; a busy machine takes longer
_FIX = (
    "Tests need an Alertmanager: set GATEWATCH_TEST_ALERTMANAGER to its binary, or install one "
    "(apt-get install prometheus-alertmanager)"
)
_NAMES = ("prometheus-alertmanager", "alertmanager")  # Debian's name, and upstream's
_PACKAGE = "prometheus-alertmanager"
# Debian's binary opens its templates under this path only. In the unpacked copy the path is made relative (with as many
# characters: "./////"), so that it finds them in the folder it runs in and nothing of the machine is touched.
_TEMPLATES = "/usr/share/prometheus/alertmanager"

# Short waits, so that tests are; all that a group says goes to one webhook.
_CONFIG = """route:
  receiver: hook
  group_by: [project, detector]
  group_wait: 1s
  group_interval: 1s
  repeat_interval: 1h
receivers:
  - name: hook
    webhook_configs:
      - {{url: "{url}/hook", send_resolved: true}}
"""


def binary() -> Path:
    """Where it is.

    Raises:
        RuntimeError: there is none, and none can be fetched; the text says what to install.
    """
    named = os.environ.get("GATEWATCH_TEST_ALERTMANAGER")
    found = named or next((path for name in _NAMES if (path := shutil.which(name))), None)
    return Path(found) if found else _fetched()


def _fetched() -> Path:
    """Debian's package, unpacked once into a cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gatewatch-test"
    unpacked = cache / _PACKAGE
    if (unpacked / _PACKAGE).is_file():
        return unpacked / _PACKAGE
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise RuntimeError(_FIX)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as name:
        folder = Path(name)
        if not _download(folder):
            _run(["apt-get", "update", "-q"], folder)  # a new machine has no lists yet
            if not _download(folder):
                raise RuntimeError(_FIX)
        _run(["dpkg", "-x", str(next(folder.glob("*.deb"))), str(folder / "root")], folder)
        ready = folder / "ready"
        shutil.copytree(folder / "root" / _TEMPLATES.strip("/"), ready)
        code = (folder / "root" / "usr" / "bin" / _PACKAGE).read_bytes()
        relative = "." + "/" * (len(_TEMPLATES) - 1)
        (ready / _PACKAGE).write_bytes(code.replace(_TEMPLATES.encode(), relative.encode()))
        (ready / _PACKAGE).chmod(0o755)
        if not unpacked.exists():  # another process may have been quicker
            ready.rename(unpacked)
    return unpacked / _PACKAGE


def _download(folder: Path) -> bool:
    return _run(["apt-get", "download", "-q", _PACKAGE], folder) and any(folder.glob("*.deb"))


def _run(command: list[str], folder: Path) -> bool:
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=300.0, check=False)  # noqa: S603 - ours
    return done.returncode == 0


class Running:
    """An Alertmanager that runs."""

    def __init__(self, url: str) -> None:
        self.url = url

    def alerts(self, **query: str) -> list[dict[str, Any]]:
        """What it shows."""
        found: list[dict[str, Any]] = httpx.get(f"{self.url}/api/v2/alerts", params=query, timeout=30.0).json()
        return found

    def silence(self, name: str, value: str, until: str) -> str:
        """Silence what has that label; returns the id."""
        body = {
            "matchers": [{"name": name, "value": value, "isRegex": False, "isEqual": True}],
            "startsAt": "2020-01-01T00:00:00Z",
            "endsAt": until,
            "createdBy": "ana",
            "comment": "load test",
        }
        return str(httpx.post(f"{self.url}/api/v2/silences", json=body, timeout=30.0).json()["silenceID"])


@contextmanager
def running_alertmanager(hook_url: str) -> Iterator[Running]:
    """Start one that tells ``hook_url``; it ends with the block."""
    program = binary()
    with tempfile.TemporaryDirectory() as folder, closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        config = Path(folder) / "alertmanager.yml"
        config.write_text(_CONFIG.format(url=hook_url))
        command = [
            str(program),
            f"--config.file={config}",
            f"--storage.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
        ]
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=program.parent)  # noqa: S603 - built above
        try:
            url = f"http://127.0.0.1:{port}"
            _await_ready(url, process, Path(folder) / "log")
            yield Running(url)
        finally:
            process.terminate()
            process.wait(30.0)


def _await_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = stopwatch() + START_S
    while True:
        try:
            if httpx.get(f"{url}/-/ready").status_code == 200:
                return
        except httpx.HTTPError:
            pass
        if process.poll() is not None or stopwatch() > deadline:
            raise RuntimeError(f"Alertmanager did not start: {log.read_text(errors='replace')[-2000:]}")
