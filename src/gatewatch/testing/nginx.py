"""A real nginx in front of a server, with the recipes of ``deploy/gateways/nginx`` as they are pasted."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from gatewatch.testing.debian import program

# $remote_addr is what a load balancer of ours says, so that tests have clients of many addresses on one machine.
_CONFIG = """{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
events {{ worker_connections 512; }}
http {{
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  set_real_ip_from 127.0.0.1;
  real_ip_header X-Forwarded-For;
{http}
{servers}
}}
"""
_SERVER = """  server {{
    listen 127.0.0.1:{port};
{inside}
    location / {{ proxy_pass http://127.0.0.1:{upstream}; proxy_set_header X-Real-IP $remote_addr; }}
  }}
"""


def server(port: int, upstream: int, inside: str = "") -> str:
    """A server block: ``inside`` is a recipe."""
    return _SERVER.format(port=port, upstream=upstream, inside=inside)


def recipe(path: Path, replace: Mapping[str, str]) -> str:
    """A recipe's text, with the places of a test instead of the usual ones; each must stand in it."""
    text = path.read_text(encoding="utf-8")
    for usual, ours in replace.items():
        if usual not in text:
            raise AssertionError(f"{path.name} does not name {usual}")
        text = text.replace(usual, ours)
    return text


class Nginx:
    """Writes a configuration into a folder; :meth:`running` runs it."""

    def __init__(self, folder: Path, http: str, servers: str) -> None:
        self._path = program("nginx", "nginx")
        self._folder = folder
        user = "user root;" if os.geteuid() == 0 else ""  # temporary folders of tests are for their owner only
        text = _CONFIG.format(user=user, folder=folder, http=http, servers=servers)
        (folder / "nginx.conf").write_text(text, encoding="utf-8")

    @property
    def reload(self) -> list[str]:
        """The command that makes it read its files again."""
        return [*self._command(), "-s", "reload"]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Until the block ends.

        Raises:
            AssertionError: nginx refuses the configuration; the text is its own.
        """
        checked = subprocess.run([*self._command(), "-t"], capture_output=True, text=True, check=False)  # noqa: S603 - ours
        if checked.returncode != 0:
            raise AssertionError(checked.stderr)
        with (self._folder / "nginx.err").open("wb") as errors:
            process = subprocess.Popen(self._command(), stderr=errors)  # noqa: S603 - the same
            try:
                yield
            finally:
                process.terminate()
                process.wait(30)

    def _command(self) -> list[str]:
        return [str(self._path), "-e", "stderr", "-p", str(self._folder), "-c", str(self._folder / "nginx.conf")]
