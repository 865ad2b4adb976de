"""An nginx ``geo``/``map`` include of what is blocked: no call a request, works while Gatewatch is down.

The file is written whole and renamed, and nginx told to reload, only when something changed. Use it with::

    geo $gatewatch_ip { default 0; include /etc/nginx/gatewatch/ip.conf; }
    map $remote_user $gatewatch_principal { default 0; include /etc/nginx/gatewatch/principal.conf; }
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from gatewatch.enforce.ledger import Entry
from gatewatch.records import Action, Scope

_RELOAD_LIMIT_S = 10.0
_PLAIN = re.compile(r"[0-9A-Za-z.:/_@+-]{1,256}")


def render(entries: Iterable[Entry]) -> dict[str, str]:
    """File name to text: addresses and networks in ``ip.conf``, principals in ``principal.conf``.

    Addresses that are throttled stand in ``throttle.conf``, for ``limit_req``; so do those to challenge, which nginx
    cannot. A principal that nginx's syntax might misread is left out: it is some stranger's text in a config file. The
    others are patterns that match them alone: as plain words ``default`` and ``include`` would be commands, and ``Ann``
    would be ``ann``.
    """
    files: dict[str, list[str]] = {"ip.conf": [], "principal.conf": [], "throttle.conf": []}
    for entry in entries:
        decision = entry.decision
        if not _PLAIN.fullmatch(decision.value):
            continue
        if decision.scope in {Scope.IP, Scope.NETWORK}:
            name = "ip.conf" if decision.action is Action.BLOCK else "throttle.conf"
            files[name].append(f"{decision.value} 1;")
        elif decision.scope is Scope.PRINCIPAL and decision.action is Action.BLOCK:
            files["principal.conf"].append(f'"~^{re.escape(decision.value)}$" 1;')
    return {name: "".join(f"{line}\n" for line in sorted(set(lines))) for name, lines in files.items()}


class MapFiles:
    """Keeps the files in ``folder`` equal to the ledger; runs ``reload`` after a change."""

    def __init__(self, folder: Path, reload: Sequence[str]) -> None:
        self._folder, self._reload = folder, list(reload)
        self._written: dict[str, str] = {}

    def update(self, entries: Iterable[Entry]) -> bool:
        """Write what changed; whether anything did.

        Raises:
            OSError: the folder cannot be written.
            subprocess.SubprocessError: the reload command failed: nginx still runs with the old files.
        """
        files = render(entries)
        if files == self._written:
            return False
        for name, text in files.items():
            path = self._folder / name
            temporary = path.with_suffix(".tmp")
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(path)
        if self._reload:
            # The command is the operator's, from the config file; nothing of a stranger's is in it.
            subprocess.run(self._reload, check=True, timeout=_RELOAD_LIMIT_S, capture_output=True)  # noqa: S603
        self._written = files
        return True
