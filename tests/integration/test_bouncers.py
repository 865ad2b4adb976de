"""Debian's bouncers of CrowdSec, unchanged, on our bouncer API: block, expiry, unblock, restarts of either side."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from gatewatch.clock import SystemClock
from gatewatch.enforce.worker import EnforceWorker
from gatewatch.log.base import TopicSpec
from gatewatch.log.memory import MemoryLog
from gatewatch.observe.http import Server
from gatewatch.records import Decision, Mode, Scope
from gatewatch.settings import Settings
from gatewatch.testing.debian import program
from gatewatch.testing.kafka import free_ports
from gatewatch.testing.waiting import wait_until

pytestmark = pytest.mark.slow
TOPIC = "gatewatch.decisions"
CONFIG = """bin_path: {script}
api_url: http://127.0.0.1:{port}/
api_key: secret
update_frequency: 1s
cache_retention_duration: 1s
daemonize: false
log_mode: stdout
log_level: info
piddir: {folder}
retry_initial_connect: true
prometheus: {{enabled: false, listen_addr: 127.0.0.1, listen_port: 60602}}
"""
# In mode ipset the firewall bouncer runs this program; rules of a kernel need rights that a test has no business with.
FIREWALL = """mode: ipset
pid_dir: {folder}/
update_frequency: 1s
daemonize: false
log_mode: stdout
log_level: info
api_url: http://127.0.0.1:{port}/
api_key: secret
disable_ipv6: true
deny_action: DROP
blacklists_ipv4: crowdsec-blacklists
blacklists_ipv6: crowdsec6-blacklists
prometheus: {{enabled: false, listen_addr: 127.0.0.1, listen_port: 60603}}
"""
# In mode nftables it speaks to the kernel itself: test_firewall.py gives it one of its own.
NFTABLES = """mode: nftables
pid_dir: {folder}/
update_frequency: 1s
daemonize: false
log_mode: stdout
log_level: info
api_url: http://127.0.0.1:{port}/
api_key: secret
disable_ipv6: true
deny_action: DROP
nftables:
  ipv4: {{enabled: true, set-only: false, table: crowdsec, chain: crowdsec-chain}}
  ipv6: {{enabled: false}}
prometheus: {{enabled: false, listen_addr: 127.0.0.1, listen_port: 60604}}
"""


class Site:
    """A log, an enforcer that can be restarted, and a bouncer that notes what it is told in a file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_ports(1)[0]
        self._notes = folder / "notes"
        self._notes.touch()
        script, ipset = folder / "bouncer.sh", folder / "ipset"
        script.write_text(f'#!/bin/sh\necho "$1 $2" >> {self._notes}\n')
        ipset.write_text(f'#!/bin/sh\necho "$*" >> {self._notes}\n')
        script.chmod(0o755)
        ipset.chmod(0o755)
        (folder / "custom.yaml").write_text(CONFIG.format(script=script, port=self.port, folder=folder))
        for mode, text in (("ipset", FIREWALL), ("nftables", NFTABLES)):
            (folder / f"{mode}.yaml").write_text(text.format(port=self.port, folder=folder))
        self.log = MemoryLog()
        with closing(self.log.admin()) as admin:
            admin.create([TopicSpec(TOPIC, 1)])

    @contextmanager
    def enforcer(self) -> Iterator[None]:
        """The enforce role with its HTTP surface."""
        document = {"enforce": {"bouncers": {"custom": {"key_env": "BOUNCER_KEY"}}}}
        worker = EnforceWorker(self.log, Settings.model_validate(document), member="e-0", clock=SystemClock())
        server = Server(worker.app(), "127.0.0.1", self.port, "enforce.listen")
        stop = threading.Event()

        def follow() -> None:
            while not stop.is_set():
                worker.step(0.05)

        thread = threading.Thread(target=follow)
        thread.start()
        try:
            yield
        finally:
            server.close()
            stop.set()
            thread.join(10)
            worker.close()

    @contextmanager
    def bouncer(self, kind: str = "custom") -> Iterator[None]:
        """A program of Debian: the ``custom`` bouncer, or the firewall's in mode ``ipset`` or ``nftables``."""
        name = f"crowdsec-{'custom' if kind == 'custom' else 'firewall'}-bouncer"
        path = program(name, name)
        command = [str(path), "-c", f"{self._folder}/{kind}.yaml"]
        env = {**os.environ, "PATH": f"{self._folder}:{os.environ['PATH']}"}
        with (self._folder / "out").open("ab") as out:
            process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=self._folder, env=env)
            try:
                yield
            finally:
                process.terminate()
                process.wait(30)

    def order(self, value: str, ttl_s: float, *, scope: Scope = Scope.IP, removed: bool = False) -> None:
        """A decision that begins now, or the removal of one that is there."""
        now = time.time()
        decision = Decision(
            id=f"d-{value}",
            action="block",
            scope=scope,
            value=value,
            reason="test",
            detector="credential_stuffing",
            start=now,
            until=now + ttl_s,
            mode=Mode.BLOCK,
            removed=now if removed else None,
        )
        with closing(self.log.producer()) as producer:
            producer.send(TOPIC, decision.model_dump_json().encode(), partition=0, key=decision.id.encode())

    def notes(self) -> list[str]:
        """What the bouncer was told, in order."""
        return self._notes.read_text().splitlines()

    def wait_for(self, note: str, times: int = 1) -> None:
        """Until the bouncer was told so, in words that begin like this."""
        self._until(lambda: sum(said.startswith(note) for said in self.notes()) >= times, note)

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        out = self._folder / "out"
        wait_until(
            condition,
            lambda: f"{what} is not among {self.notes()}; the bouncer says: {out.read_text()[-2000:]}",
        )


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Nothing runs yet."""
    monkeypatch.setenv("BOUNCER_KEY", "secret")
    return Site(tmp_path)


def test_a_bouncer_of_debian_follows_our_decisions_through_restarts_of_either_side(site: Site) -> None:
    """If this fails, a firewall or proxy that follows CrowdSec's API misses a block, or never lifts one."""
    with site.enforcer(), site.bouncer():
        site.order("203.0.113.9", 600.0)
        site.order("198.51.100.0/24", 600.0, scope=Scope.NETWORK)
        for note in ("add 203.0.113.9", "add 198.51.100.0/24"):
            site.wait_for(note)
        site.order("203.0.113.8", 5.0)  # it asks every second by now
        for note in ("add 203.0.113.8", "del 203.0.113.8"):
            site.wait_for(note)
        site.order("198.51.100.0/24", 600.0, scope=Scope.NETWORK, removed=True)
        site.wait_for("del 198.51.100.0/24")
    with site.enforcer(), site.bouncer():  # the bouncer begins anew: it is told all that holds
        site.wait_for("add 203.0.113.9", 2)
    with site.bouncer():  # the enforcer is away, comes back, and the bouncer had never stopped
        with site.enforcer():
            site.wait_for("add 203.0.113.9", 3)
        site.order("203.0.113.9", 600.0, removed=True)
        with site.enforcer():
            site.wait_for("del 203.0.113.9")
    assert site.notes().count("add 203.0.113.8") == 1


def test_the_firewall_bouncer_of_debian_puts_our_blocks_into_its_set_and_takes_them_out(site: Site) -> None:
    """If this fails, a firewall that follows us keeps attackers out of nothing, or customers out for good."""
    add, remove = "-exist add crowdsec-blacklists", "-exist del crowdsec-blacklists"
    with site.enforcer(), site.bouncer("ipset"):
        site.order("203.0.113.9", 600.0)
        site.order("198.51.100.0/24", 600.0, scope=Scope.NETWORK)
        for value in ("203.0.113.9", "198.51.100.0/24"):
            site.wait_for(f"{add} {value} timeout 5")  # 5xx s: the kernel ends it, even if nobody is there to say so
        site.order("203.0.113.9", 600.0, removed=True)
        site.wait_for(f"{remove} 203.0.113.9")
    with site.enforcer(), site.bouncer("ipset"):  # it begins with an empty set: it is told what holds, and no more
        site.wait_for(f"{add} 198.51.100.0/24", 2)
    assert sum(note.startswith(f"{add} 203.0.113.9") for note in site.notes()) == 1
