"""What `gatewatch topics acl` prints, on a broker that enforces it, by TLS and SCRAM: enough for each, and no more."""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
import yaml
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient, UserScramCredentialUpsertion
from kafka.errors import KafkaError, TopicAuthorizationFailedError
from tests.contract.format_cases import NATIVE
from tests.integration.planting import tattle
from typer.testing import CliRunner

from gatewatch import roles
from gatewatch.cli.topics import app
from gatewatch.clock import SystemClock
from gatewatch.enforce.worker import EnforceWorker
from gatewatch.errors import GatewatchError, LogError
from gatewatch.log.acl import READS, WRITES
from gatewatch.log.base import TopicSpec
from gatewatch.log.kafka import KafkaLog
from gatewatch.log.kafka_config import tls_context
from gatewatch.log.topics import specs
from gatewatch.metrics import Metrics
from gatewatch.roles import Role, Worker, build
from gatewatch.settings import Settings
from gatewatch.state.layout import ensure_layout
from gatewatch.testing.kafka import Broker
from gatewatch.testing.sinks import StandIn

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.usefixtures("client_leaks")]
PATIENCE_S = 60.0
PASSWORD = "a-password-of-a-role"
WORKERS = (Role.INGEST, Role.DETECT, Role.DECIDE, Role.NOTIFY, Role.ENFORCE)
OWN = [spec.name.partition(".")[2] for spec in specs(Settings())]


class Site:
    """An installation on a broker with ACLs; every role has a user of its own, ``stranger`` has no rights at all."""

    def __init__(self, broker: Broker, folder: Path, webhook: str) -> None:
        self._broker, self._folder = broker, folder
        self.prefix = f"t{uuid4().hex[:8]}"
        self.source = f"{self.prefix}-edge"
        (folder / "password").write_text(PASSWORD, encoding="utf-8")
        self._webhook = webhook
        (folder / "gatewatch.yaml").write_text(yaml.safe_dump(self._document("admin")), encoding="utf-8")
        with closing(KafkaAdminClient(bootstrap_servers=broker.bootstrap)) as admin:
            users = [UserScramCredentialUpsertion(self.user(name), "SCRAM-SHA-512", PASSWORD) for name in self._names()]
            admin.alter_user_scram_credentials(users)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(self.run, self._printed()))
        plain = Settings.model_validate({**self._document("admin"), "kafka": {
            "bootstrap": [broker.bootstrap], "prefix": self.prefix, "partitions": 2}})  # fmt: skip
        with closing(KafkaLog(plain.kafka)) as log:
            with closing(log.admin()) as made:
                made.create([*specs(plain), TopicSpec(self.source, 1)])
            ensure_layout(log, plain)

    def user(self, name: str) -> str:
        """Names of users are the whole cluster's."""
        return f"{self.prefix}-{name}"

    def settings(self, name: str) -> Settings:
        """As that user."""
        return Settings.model_validate(self._document(name))

    def topic(self, name: str) -> str:
        """On Kafka."""
        return self.source if name == "sources" else f"{self.prefix}.{name}"

    @contextmanager
    def producer(self, name: str) -> Iterator[KafkaProducer]:
        """Kafka's own client as that user: what is refused is refused by the broker."""
        kafka = self.settings(name).kafka
        producer = KafkaProducer(
            bootstrap_servers=list(kafka.bootstrap), security_protocol="SASL_SSL", sasl_mechanism="SCRAM-SHA-512",
            sasl_plain_username=self.user(name), sasl_plain_password=PASSWORD, max_block_ms=10_000,
            enable_idempotence=False,  # an idempotent one gives up for good at the first refusal
            ssl_context=tls_context(kafka.security),
        )  # fmt: skip
        try:
            yield producer
        finally:
            producer.close(10.0)

    def refused(self, producer: KafkaProducer, name: str) -> bool:
        """Whether the broker lets that user write to one of our topics."""
        try:
            producer.send(self.topic(name), b"{}", key=b"k").get(30.0)
        except TopicAuthorizationFailedError:
            return True
        return False

    def run(self, line: str, *, as_: str = "--add") -> None:
        """A command that was printed, but for where the broker is: by the way that needs no login."""
        tool, *words = shlex.split(line.replace(self._broker.secure, self._broker.bootstrap).replace("--add", as_))
        said = self._broker.tool(tool, *words)
        assert "rror" not in said, said

    def take(self, role: str, operation: str, topic: str) -> None:
        """Take one right of a role away, for good."""
        user, name = f"User:{self.user(role)}", self.topic(topic) if topic else f"{self.prefix}.{role}"
        kind, pattern = ("--topic", "literal") if topic else ("--group", "prefixed")
        line = shlex.join([
            "kafka-acls.sh", "--bootstrap-server", self._broker.secure, "--add", "--allow-principal", user,
            "--operation", operation, kind, name, "--resource-pattern-type", pattern,
        ])  # fmt: skip
        self.run(f"{line} --force", as_="--remove")

    def _names(self) -> list[str]:
        return [*READS, "stranger"]

    def _printed(self) -> list[str]:
        principals = [word for role in READS for word in (f"--principal-{role}", f"User:{self.user(role)}")]
        done = CliRunner().invoke(app, ["acl", "--config", str(self._folder / "gatewatch.yaml"), *principals])
        assert done.exit_code == 0, done.output
        return done.output.splitlines()

    def _document(self, name: str) -> dict[str, object]:
        security = {
            "protocol": "SASL_SSL", "mechanism": "SCRAM-SHA-512", "username": self.user(name),
            "password_file": str(self._folder / "password"), "ca_file": str(self._broker.ca_file),
        }  # fmt: skip
        return {
            "kafka": {
                "bootstrap": [self._broker.secure], "prefix": self.prefix, "partitions": 2, "security": security,
            },
            "sources": [{"topic": self.source, "format": "native"}],
            "detectors": {"tattle": {"mode": "block"}},
            "notify": {"webhook": {"url": self._webhook}},
            "enforce": {"bouncers": {"edge": {"key_file": str(self._folder / "password")}}},
            "state": {"every": "1s"},
        }  # fmt: skip


@pytest.fixture(scope="module")
def webhook() -> Iterator[StandIn]:
    """Where alerts go."""
    made = StandIn()
    yield made
    made.close()


@pytest.fixture(scope="module")
def site(own_broker: Broker, webhook: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The topics, the users and their rights; nothing runs yet."""
    return Site(own_broker, tmp_path_factory.mktemp("acl"), webhook.url)


def test_every_role_works_with_the_rights_that_are_printed_for_it(
    site: Site, webhook: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails, who follows the documentation has roles that cannot start, and grants them everything."""
    monkeypatch.setattr(roles, "load_all", lambda: {"tattle": tattle()})
    stop, turned = threading.Event(), threading.Event()
    with ExitStack() as stack:
        workers = {role: _worker(site, role, stack) for role in WORKERS}
        enforce = workers[Role.ENFORCE]
        assert isinstance(enforce, EnforceWorker)
        for worker in workers.values():
            thread = threading.Thread(target=_follow, args=(worker, stop, turned))
            thread.start()
            stack.callback(thread.join, PATIENCE_S)
        stack.callback(stop.set)
        gateway = stack.enter_context(site.producer("gateway"))

        def arrived() -> bool:
            now = b'"ts":' + str(time.time()).encode()
            gateway.send(site.source, NATIVE.raw.replace(b'"ts":1795491546.439', now)).get(30.0)
            return bool(webhook.seen) and len(enforce.ledger) > 0

        deadline = time.monotonic() + PATIENCE_S
        while not arrived():
            assert time.monotonic() < deadline
            turned.clear()
            turned.wait(PATIENCE_S)


def _worker(site: Site, role: Role, stack: ExitStack) -> Worker:
    settings = site.settings(role.value)
    log = KafkaLog(settings.kafka)
    stack.callback(log.close)
    return build(role, settings, log, member=role.value, clock=SystemClock(), metrics=Metrics())


def _run_for(site: Site, role: Role, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    with ExitStack() as stack:
        worker = _worker(site, role, stack)
        stack.callback(worker.close, flush=False)
        while time.monotonic() < deadline:
            worker.step(0.1)


def _follow(worker: Worker, stop: threading.Event, turned: threading.Event) -> None:
    """Turn after turn; each is told."""
    while not stop.is_set():
        worker.step(0.1)
        turned.set()
    worker.close()


@pytest.mark.parametrize("role", [*READS, "stranger"])
def test_nobody_writes_what_is_not_theirs(site: Site, role: str) -> None:
    """If this fails, whoever takes over a gateway or one role can order that customers are blocked."""
    with site.producer(role) as producer:
        refused = {name for name in ("sources", *OWN) if site.refused(producer, name)}
    assert refused == {"sources", *OWN} - set(WRITES.get(role, ()))


def test_a_stranger_reads_nothing_and_a_role_only_what_it_needs(site: Site) -> None:
    """If this fails, everybody with a login sees who is suspected of what."""
    for user, topic in (
        ("stranger", "alerts"),
        ("gateway", "decisions"),
        ("ingest", "alerts"),
        ("enforce", "findings"),
    ):
        with closing(KafkaLog(site.settings(user).kafka)) as log, pytest.raises((LogError, KafkaError)):
            list(log.read(site.topic(topic)))


@pytest.mark.parametrize(
    ("role", "operation", "topic"),
    [
        (Role.INGEST, "Write", "routed"),
        (Role.DETECT, "Read", ""),  # its group
        (Role.ENFORCE, "Read", "state"),
    ],
)
def test_one_right_less_and_the_role_says_so(
    site: Site, role: Role, operation: str, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails, more is printed than is needed; or a role that lacks a right stands still and says nothing."""
    monkeypatch.setattr(roles, "load_all", lambda: {"tattle": tattle()})
    site.take(role.value, operation, topic)  # the last test of the file: nobody needs it any more
    with pytest.raises(GatewatchError) as refused:
        _run_for(site, role, PATIENCE_S)
    assert "uthoriz" in str(refused.value)
    assert (site.topic(topic) if topic else f"{site.prefix}.{role}") in str(refused.value)
