"""A firewall bouncer of Debian in a network of its own: what the kernel does with packets of whom we block.

Run by tests/integration/test_firewall.py in a new network name space, so that the rules concern nobody else:
``unshare --net python -m tests.integration.behind_a_firewall FOLDER``. It prints one line a question asked.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from tests.integration.test_bouncers import Site

from gatewatch.testing.debian import program
from gatewatch.testing.waiting import wait_until

SERVER, ATTACKER, CUSTOMER = "192.0.2.1", "203.0.113.9", "203.0.113.10"
ANSWER_S = 2.0  # an answer on loopback takes microseconds


def main() -> None:
    """Ask as an attacker and as a customer: before a block, under it, after its end was ordered."""
    os.environ["BOUNCER_KEY"] = "secret"
    ip = str(program("ip", "iproute2"))
    for command in ("link set lo up", *(f"address add {a}/32 dev lo" for a in (SERVER, ATTACKER, CUSTOMER))):
        subprocess.run([ip, *command.split()], check=True)
    site = Site(Path(sys.argv[1]))
    with socket.create_server((SERVER, 0)) as server, site.enforcer(), site.bouncer("nftables"):
        say("before", server)
        site.order(ATTACKER, 600.0)
        wait_until(lambda: not reaches(ATTACKER, server), f"{ATTACKER} is answered no more")
        say("blocked", server)
        site.order(ATTACKER, 600.0, removed=True)
        wait_until(lambda: reaches(ATTACKER, server), f"{ATTACKER} is answered again")
        say("unblocked", server)


def say(when: str, server: socket.socket) -> None:
    """One line: when, and who is answered."""
    answered = [name for name, a in (("attacker", ATTACKER), ("customer", CUSTOMER)) if reaches(a, server)]
    sys.stdout.write(" ".join((when, *answered)) + "\n")


def reaches(address: str, server: socket.socket) -> bool:
    """Whether packets from there come through: a refused connection would be an error, a dropped one is silence."""
    try:
        socket.create_connection(server.getsockname(), ANSWER_S, source_address=(address, 0)).close()
    except TimeoutError:
        return False
    server.accept()[0].close()  # else a full queue of them would be silence, too
    return True


if __name__ == "__main__":
    main()
