"""A real Kafka broker for tests: started, stopped, killed and started again on the same data.

From Maven Central where Java 17 and Maven are there, else by Docker, else an error that says what to install; never a
skip. The broker has a plain listener and one with TLS and SCRAM, so one process serves every test. It enforces ACLs on
users that tests make; :data:`USER`, and whoever comes to the plain listener, may do everything.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Protocol

from gatewatch.clock import stopwatch
from gatewatch.errors import LogError

KAFKA_VERSION = "4.1.1"
USER, PASSWORD = "gatewatch-test", "correct horse"
STORE_PASSWORD = "gatewatch-test-store"  # noqa: S105 - of a key that is made for one run of a broker on loopback
START_S = 60.0  # a start takes 3-6 s; after kill -9 the old broker's session must run out first
# The scripts do no more than run their classes
TOOLS = {"kafka-acls.sh": "org.apache.kafka.tools.AclCommand", "kafka-configs.sh": "kafka.admin.ConfigCommand"}
_FIX = (
    "Tests need a Kafka broker: set GATEWATCH_TEST_KAFKA=host:port, or install Java 17 and Maven "
    "(apt-get install openjdk-17-jre-headless maven), or start Docker"
)

_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>gatewatch</groupId><artifactId>test-broker</artifactId><version>1</version><dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{KAFKA_VERSION}</version></dependency>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>{KAFKA_VERSION}</version></dependency>
</dependencies></project>
"""

# group.initial.rebalance.delay and the broker session are short so that tests are; the rest is what one node needs.
_PROPERTIES = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://{bind}:{plain},SECURE://{bind}:{secure},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SECURE://127.0.0.1:{secure}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SECURE:SASL_SSL,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.keystore.type=PKCS12
ssl.keystore.location={config}/broker.p12
ssl.keystore.password={store_password}
ssl.key.password={store_password}
log.dirs={data}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=2000
auto.create.topics.enable=false
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:{user}
"""


class _Runner(Protocol):
    """How the broker process is run. All calls return at once."""

    bind: str
    config: str  # the folder of server.properties, as the broker sees it
    data: str

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def kill(self) -> None: ...

    def remove(self) -> None: ...

    def output(self) -> str: ...

    def tool(self, name: str, words: Sequence[str]) -> str: ...


class Broker:
    """One broker with its own data, on free ports of 127.0.0.1.

    Args:
        root: an empty folder for its files, which the caller removes.

    Attributes:
        bootstrap: ``host:port`` without security.
        secure: ``host:port`` with SASL_SSL, SCRAM-SHA-512, :data:`USER` and :data:`PASSWORD`.
        ca_file: signs the certificate of ``secure``; it holds for localhost and 127.0.0.1.
    """

    def __init__(self, root: Path) -> None:
        plain, secure, controller = free_ports(3)
        self.bootstrap, self.secure = f"127.0.0.1:{plain}", f"127.0.0.1:{secure}"
        self.ca_file = root / "ca.pem"
        self._runner = _runner(root, (plain, secure))
        make_certificate(root)
        text = _PROPERTIES.format(
            plain=plain,
            secure=secure,
            controller=controller,
            bind=self._runner.bind,
            config=self._runner.config,
            data=self._runner.data,
            store_password=STORE_PASSWORD,
            user=USER,
        )
        (root / "server.properties").write_text(text, encoding="utf-8")
        self._user_made = False

    def start(self) -> None:
        """Start and wait until it answers.

        Raises:
            LogError: it does not; the text holds the end of its output.
        """
        self._runner.start()
        deadline = stopwatch() + START_S
        for address in (self.bootstrap, self.secure):
            self._wait_for_port(address, deadline)
        self._wait_for_metadata(deadline)

    def stop(self) -> None:
        """End it in good order."""
        self._runner.stop()

    def kill(self) -> None:
        """End it by kill -9."""
        self._runner.kill()

    def restart(self) -> None:
        """Start again on the same data, after :meth:`stop` or :meth:`kill`."""
        self.start()

    def tool(self, name: str, *words: str) -> str:
        """Run one of Kafka's own command-line tools (:data:`TOOLS`) to its end; returns what it wrote. About a second.

        Raises:
            LogError: it failed.
        """
        return self._runner.tool(name, words)

    def close(self) -> None:
        """End it, whatever it does."""
        self._runner.kill()
        self._runner.remove()

    def _wait_for_port(self, address: str, deadline: float) -> None:
        host, port = address.rsplit(":", 1)
        while True:
            with suppress(OSError), socket.create_connection((host, int(port)), timeout=1.0):
                return
            if stopwatch() > deadline:
                raise LogError(f"the test broker does not listen on {address}:\n{self._runner.output()[-2000:]}")
            time.sleep(0.05)

    def _wait_for_metadata(self, deadline: float) -> None:
        """Until it answers requests; at the first start the SCRAM user is made as well."""
        # Imported here: kafka-python takes a quarter of a second, and most who import this module start no broker.
        from kafka.admin import KafkaAdminClient, UserScramCredentialUpsertion  # noqa: PLC0415 - said above

        left_ms = max(int((deadline - stopwatch()) * 1000), 1000)
        with closing(KafkaAdminClient(bootstrap_servers=self.bootstrap, bootstrap_timeout_ms=left_ms)) as admin:
            admin.describe_cluster()
            if not self._user_made:
                admin.alter_user_scram_credentials([UserScramCredentialUpsertion(USER, "SCRAM-SHA-512", PASSWORD)])
                self._user_made = True


class _JavaRunner:
    """The jars of Maven Central in a process of ours."""

    def __init__(self, root: Path) -> None:
        self.bind, self.config, self.data = "127.0.0.1", str(root), str(root / "data")
        self._root = root
        self._classpath = f"{jars()}/*"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if not Path(self.data).exists():
            # As one argument: one in 64 ids begins with a dash.
            cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            tool = [
                "kafka.tools.StorageTool",
                "format",
                f"--cluster-id={cluster}",
                "-c",
                f"{self._root}/server.properties",
            ]
            _run(*self._command(), *tool)
        with self._out().open("ab") as out:
            self._process = subprocess.Popen(  # noqa: S603 - as in _run
                [*self._command("-Xmx512m"), "kafka.Kafka", f"{self._root}/server.properties"],
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=self._root,
            )

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(START_S)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(START_S)

    def remove(self) -> None:
        """Nothing is left but files."""

    def output(self) -> str:
        return self._out().read_text(encoding="utf-8", errors="replace")

    def tool(self, name: str, words: Sequence[str]) -> str:
        return _run(*self._command(), TOOLS[name], *words)

    def _out(self) -> Path:
        return self._root / "broker.out"

    def _command(self, *options: str) -> list[str]:
        # The client compiler and the serial collector start in two thirds of the time on two cores.
        java = shutil.which("java") or "java"
        return [java, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", *options, "-cp", self._classpath]


class _DockerRunner:
    """The image apache/kafka; its data stays in the container until :meth:`remove`."""

    def __init__(self, root: Path, ports: tuple[int, ...]) -> None:
        self.bind, self.config, self.data = "0.0.0.0", "/mnt/shared/config", "/tmp/data"  # noqa: S104, S108 - inside it
        self._root, self._ports = root, ports
        self._container: str | None = None

    def start(self) -> None:
        if self._container is not None:
            _run("docker", "start", self._container)
            return
        self._root.chmod(0o755)
        for file in self._root.iterdir():
            file.chmod(0o644)  # the image runs as another user
        published = [word for port in self._ports for word in ("-p", f"127.0.0.1:{port}:{port}")]
        volume = f"{self._root}:{self.config}:ro"
        self._container = _run("docker", "run", "-d", *published, "-v", volume, f"apache/kafka:{KAFKA_VERSION}").strip()

    def stop(self) -> None:
        if self._container is not None:
            _run("docker", "stop", self._container)

    def kill(self) -> None:
        if self._container is not None:
            with suppress(LogError):  # it may not be running
                _run("docker", "kill", self._container)

    def remove(self) -> None:
        if self._container is not None:
            _run("docker", "rm", "-f", "-v", self._container)

    def output(self) -> str:
        return _run("docker", "logs", self._container) if self._container is not None else ""

    def tool(self, name: str, words: Sequence[str]) -> str:
        return _run("docker", "exec", str(self._container), f"/opt/kafka/bin/{name}", *words)


def _runner(root: Path, ports: tuple[int, ...]) -> _Runner:
    if shutil.which("java") and (shutil.which("mvn") or jars_folder().exists()):
        return _JavaRunner(root)
    try:
        _run("docker", "info")
    except LogError as error:
        raise LogError(_FIX) from error
    return _DockerRunner(root, ports)


@contextmanager
def running_broker() -> Iterator[Broker]:
    """A broker in a temporary folder, ended and removed at the end."""
    with tempfile.TemporaryDirectory(prefix="gatewatch-kafka-") as root:
        broker = Broker(Path(root))
        try:
            broker.start()
            yield broker
        finally:
            broker.close()


def jars_folder() -> Path:
    """Where the broker's jars are kept between runs."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "gatewatch" / f"kafka-{KAFKA_VERSION}"


def jars() -> Path:
    """The broker's jars, fetched by Maven once: 54 MB, 8 s.

    Raises:
        LogError: Maven cannot fetch them.
    """
    folder = jars_folder()
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        Path(temporary, "pom.xml").write_text(_POM, encoding="utf-8")
        _run(
            "mvn",
            "-q",
            "-B",
            "-f",
            temporary,
            "dependency:copy-dependencies",
            "-DincludeScope=runtime",
            f"-DoutputDirectory={temporary}/lib",
        )
        with suppress(OSError):  # somebody else was quicker
            Path(temporary, "lib").rename(folder)
    return folder


def make_certificate(folder: Path) -> None:
    """``broker.p12`` and ``ca.pem``: a key of localhost that signs itself. keytool comes with Java, openssl without it.

    Raises:
        LogError: neither is there.
    """
    key, store, ca = folder / "key.pem", folder / "broker.p12", folder / "ca.pem"
    names = "dns:localhost,ip:127.0.0.1"
    if shutil.which("keytool"):
        common = ["-keystore", str(store), "-storetype", "PKCS12", "-storepass", STORE_PASSWORD, "-alias", "broker"]
        usage = ["-ext", f"SAN={names}", "-ext", "bc:c=ca:true", "-ext", "ku:c=digitalSignature,keyCertSign"]
        subject = ["-keyalg", "EC", "-groupname", "secp256r1", "-dname", "CN=localhost", "-validity", "7"]
        _run("keytool", "-genkeypair", *common, *subject, *usage)
        _run("keytool", "-exportcert", "-rfc", *common, "-file", str(ca))
    elif shutil.which("openssl"):
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(key)]
        extension = ["-addext", f"subjectAltName={names.replace('dns:', 'DNS:').replace('ip:', 'IP:')}"]
        _run("openssl", "req", "-x509", *curve, "-out", str(ca), "-days", "7", "-subj", "/CN=localhost", *extension)
        password = ["-passout", f"pass:{STORE_PASSWORD}"]
        files = ["-in", str(ca), "-inkey", str(key), "-out", str(store), "-name", "broker"]
        _run("openssl", "pkcs12", "-export", *files, *password)
    else:
        raise LogError("a certificate for the test broker needs keytool (Java) or openssl")


def free_ports(n: int) -> list[int]:
    """Ports of 127.0.0.1 that are free now; held together, so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    try:
        return [s.getsockname()[1] for s in sockets]
    finally:
        for s in sockets:
            s.close()


def _run(program: str, *arguments: str) -> str:
    """Run a program of this machine to its end; returns what it wrote.

    Raises:
        LogError: it is not there, or failed.
    """
    path = shutil.which(program)
    if path is None:
        raise LogError(f"{program} is not installed")
    # Nothing here comes from a user: the arguments are paths and names made in this module.
    done = subprocess.run([path, *arguments], capture_output=True, text=True, check=False)  # noqa: S603 - said above
    if done.returncode != 0:
        raise LogError(f"{program} failed: {(done.stdout + done.stderr)[-2000:]}")
    return done.stdout
