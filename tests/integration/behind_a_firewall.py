"""A firewall bouncer of Debian in a network of its own: what the kernel does with packets of whom we block.

Run by tests/integration/test_firewall.py in a new network name space, so that the rules concern nobody else:
``unshare --net python -m tests.integration.behind_a_firewall FOLDER``. It prints one line a question asked.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.integration.test_bouncers import Site

from gatewatch.testing.debian import program

SERVER, ATTACKER, CUSTOMER = "192.0.2.1", "203.0.113.9", "203.0.113.10"
PATIENCE_S = 60.0
ANSWER_S = 2.0  # an answer on loopback takes microseconds


def main() -> None:
    """Ask as an attacker and as a customer: before a block, under it, after its end was ordered."""
    os.environ["BOUNCER_KEY"] = "secret"
    ip = str(program("ip", "iproute2"))
    for command in ("link set lo up", *(f"address add {a}/32 dev lo" for a in (SERVER, ATTACKER, CUSTOMER))):
        subprocess.run([ip, *command.split()], check=True)
    site = Site(Path(sys.argv[1]))
    with socket.create_server((SERVER, 0)) as server:
        port = server.getsockname()[1]
        with site.enforcer(), site.bouncer("nftables"):
            say("before", port)
            site.order(ATTACKER, 600.0)
            until(port, reached=False)
            say("blocked", port)
            site.order(ATTACKER, 600.0, removed=True)
            until(port, reached=True)
            say("unblocked", port)


def say(when: str, port: int) -> None:
    """One line: when, and who is answered."""
    answered = [name for name, a in (("attacker", ATTACKER), ("customer", CUSTOMER)) if reaches(a, port)]
    sys.stdout.write(" ".join((when, *answered)) + "\n")


def until(port: int, *, reached: bool) -> None:
    """Wait for what the bouncer and the kernel do."""
    deadline = time.monotonic() + PATIENCE_S
    while reaches(ATTACKER, port) is not reached:
        if time.monotonic() > deadline:
            raise SystemExit(f"{ATTACKER} is {'not ' if reached else ''}answered after {PATIENCE_S:.0f} s")
        time.sleep(0.1)


def reaches(address: str, port: int) -> bool:
    """Whether packets from there come through: a refused connection would be an error, a dropped one is silence."""
    try:
        socket.create_connection((SERVER, port), ANSWER_S, source_address=(address, 0)).close()
    except TimeoutError:
        return False
    return True


if __name__ == "__main__":
    main()
