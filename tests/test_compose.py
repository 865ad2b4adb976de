"""What is deployed fits what is built: commands, options, environment, settings, metric names, probes."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from gatewatch import settings
from gatewatch.cli import COMMANDS, load
from gatewatch.metrics import SPECS
from gatewatch.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
MOUNTED = "/etc/gatewatch/gatewatch.yaml"
PORT = "9108"
METRICS = {spec.name for spec in SPECS}
KNOWN_KEYS = {
    "build", "cap_drop", "command", "depends_on", "environment", "healthcheck", "hostname", "image", "ports",
    "profiles", "read_only", "restart", "security_opt", "stop_grace_period", "tmpfs", "volumes",
}  # fmt: skip


def read_all(name: str) -> list[dict[str, Any]]:
    """Every document of a YAML file of the repository."""
    return [document for document in yaml.safe_load_all((ROOT / name).read_text()) if document]


COMPOSE = read_all("docker-compose.yml")[0]
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "gatewatch:local"}
MANIFESTS = read_all("deploy/kubernetes/gatewatch.yaml")


def containers() -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and description of every container of the manifests."""
    for manifest in MANIFESTS:
        if "template" in manifest.get("spec", {}):
            for container in manifest["spec"]["template"]["spec"]["containers"]:
                yield manifest["metadata"]["name"], container


CALLS = {name: service["command"] for name, service in OURS.items()} | {n: c["args"] for n, c in containers()}


def problem(call: list[str]) -> str | None:
    """What is wrong with the arguments of a call, by asking the command line's own parser."""
    if call[0] not in COMMANDS:
        return f"no command {call[0]}"
    command, rest = load(call[0]), call[1:]
    while (commands := getattr(command, "commands", None)) is not None:
        if not rest or rest[0] not in commands:
            return f"no command {' '.join(call[:2])}"
        command, rest = commands[rest[0]], rest[1:]
    try:
        command.make_context(call[0], list(rest))
    except Exception as error:  # noqa: BLE001 - whatever the parser says is the answer
        return str(error)
    return None


def dockerfile() -> list[str]:
    """The Dockerfile's instructions, continuation lines joined."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_the_parser_that_checks_calls_finds_mistakes() -> None:
    """Otherwise every call below passes whatever it says."""
    assert problem(["worker", "--role", "detect"]) is None
    assert problem(["wroker"]) is not None
    assert problem(["topics", "make"]) is not None
    assert problem(["worker", "--roll", "detect"]) is not None
    assert problem(["worker", "--role", "detective"]) is not None


@pytest.mark.parametrize("name", sorted(CALLS))
def test_every_container_calls_what_exists(name: str) -> None:
    """Otherwise `docker compose up` or `kubectl apply` starts containers that end at once with a usage error."""
    assert problem([str(word) for word in CALLS[name]]) is None


@pytest.mark.parametrize("name", sorted(CALLS))
def test_every_container_reads_the_file_that_is_mounted(name: str) -> None:
    """Otherwise a worker runs with the defaults, on a broker at 127.0.0.1 that is not there."""
    assert MOUNTED in " ".join(CALLS[name]).replace("=", " ").split()
    if name in OURS:
        assert any(f":{MOUNTED}:ro" in volume for volume in OURS[name]["volumes"])


def test_mounted_settings_are_right() -> None:
    """Otherwise every worker refuses to start, or listens where nobody scrapes."""
    loaded = settings.load(ROOT / "deploy/compose/gatewatch.yaml")
    assert loaded.kafka.bootstrap == ("kafka:9092",)
    assert loaded.metrics.address == ("0.0.0.0", int(PORT))
    create = SERVICES["access-events"]["command"]
    assert f"--topic={loaded.sources[0].topic}" in create


def test_manifest_settings_are_right(tmp_path: Path) -> None:
    """Otherwise every pod refuses to start, or waits for a token that no secret holds."""
    (config,) = [m for m in MANIFESTS if m["kind"] == "ConfigMap"]
    path = tmp_path / "gatewatch.yaml"
    path.write_text(config["data"]["gatewatch.yaml"])
    loaded = settings.load(path)
    assert loaded.metrics.address == ("0.0.0.0", int(PORT))
    for name, container in containers():
        env = {entry["name"] for entry in container.get("env", [])}
        assert env == (set() if name == "gatewatch-topics" else {loaded.metrics.token_env})


def test_environment_of_our_containers_is_read_by_us() -> None:
    """Otherwise a variable in the file looks as if it did something."""
    source = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    for name, service in OURS.items():
        for variable in service.get("environment", {}):
            assert variable in source, (name, variable)
    (env,) = [line for line in dockerfile() if line.startswith("ENV ")]
    for variable in re.findall(r"(\w+)=", env):
        assert variable in {"PATH", "PYTHONUNBUFFERED"} or variable in source, variable


def test_all_roles_run_and_detect_runs_twice() -> None:
    """Otherwise part of the flow is missing from the sample, or shows nothing of how work is shared."""
    roles = [call[call.index("--role") + 1] for name, call in CALLS.items() if name in OURS and "--role" in call]
    assert sorted(roles) == ["decide", "detect", "detect", "ingest"]
    hostnames = [service["hostname"] for service in OURS.values() if "hostname" in service]
    assert len(set(hostnames)) == len(hostnames) == 4


def test_workers_wait_for_topics_and_topics_for_the_broker() -> None:
    """Otherwise the first start is a race, and half of the containers end."""
    for name, service in OURS.items():
        wanted = "access-events" if name == "topics" else "topics"
        assert service["depends_on"] == {wanted: {"condition": "service_completed_successfully"}}, name
    assert SERVICES["access-events"]["depends_on"] == {"kafka": {"condition": "service_healthy"}}


def test_traffic_is_simulated_only_when_asked_for() -> None:
    """Otherwise somebody's real topic fills with made-up attacks."""
    assert SERVICES["simulate"]["profiles"] == ["demo"]


def test_no_port_is_open_to_other_machines() -> None:
    """Otherwise the sample publishes an unguarded Kafka to the network of whoever tries it."""
    for name, service in SERVICES.items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name


def test_images_are_pinned_and_ours_is_not_root() -> None:
    """Otherwise tomorrow's image is another one, or a hole in us is a hole in the host."""
    lines = dockerfile()
    images = [line.split()[1] for line in lines if line.startswith("FROM ")]
    images += [service["image"] for service in SERVICES.values()]
    assert all(re.search(r":(v?\d+\.\d+\.\d+|local)", image) for image in images), images
    user = max(i for i, line in enumerate(lines) if line.startswith("USER "))
    assert lines[user] == "USER 10001"
    assert not any(line.startswith(("RUN", "COPY")) for line in lines[user:])
    assert all("no-new-privileges:true" in service["security_opt"] for service in OURS.values())


def test_probes_ask_what_is_served() -> None:
    """Otherwise an orchestrator kills healthy workers."""
    health = " ".join(line for line in dockerfile() if line.startswith("HEALTHCHECK"))
    assert f"http://127.0.0.1:{PORT}/healthz" in health
    for name, container in containers():
        if name == "gatewatch-topics":
            continue
        assert container["ports"] == [{"name": "metrics", "containerPort": int(PORT)}]
        probes = {k: v["httpGet"]["path"] for k, v in container.items() if k.endswith("Probe")}
        assert set(probes.values()) <= {"/healthz", "/readyz"}
        assert ("readinessProbe" in probes) == (name != "gatewatch-decide")


def test_prometheus_scrapes_every_worker() -> None:
    """Otherwise a worker that is down is not missed."""
    config = read_all("deploy/prometheus/prometheus.yml")[0]
    targets = config["scrape_configs"][0]["static_configs"][0]["targets"]
    workers = [service["hostname"] for service in OURS.values() if "hostname" in service]
    assert sorted(targets) == sorted(f"{worker}:{PORT}" for worker in workers)
    mounted = [volume.split(":")[1] for volume in SERVICES["prometheus"]["volumes"]]
    assert set(config["rule_files"]) <= set(mounted)


def test_rules_ask_for_metrics_that_exist() -> None:
    """Otherwise an alert on Gatewatch itself never fires, and nobody notices."""
    rules = [rule for group in read_all("deploy/prometheus/rules.yml")[0]["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        named = set(re.findall(r"gatewatch_\w+", rule["expr"]))
        assert {re.sub(r"_bucket$", "", name) for name in named} <= METRICS, rule["alert"]
        assert rule["annotations"].keys() == {"summary", "action"}, rule["alert"]


def test_calls_in_actions_of_rules_exist() -> None:
    """Otherwise whoever is paged at night is told to run a command that is not there."""
    text = (ROOT / "deploy/prometheus/rules.yml").read_text()
    calls = re.findall(r"gatewatch ([a-z-]+(?: [a-z]+)?)(?= |;|,|\.)", text)
    runner = CliRunner()
    from gatewatch.cli import app  # noqa: PLC0415 - only this test runs the program

    assert calls
    for call in calls:
        words = call.split() if call.split()[0] in COMMANDS else []
        assert runner.invoke(app, [*words, "--help"]).exit_code == 0, call


def test_compose_file_holds_together() -> None:
    """Otherwise a service waits for one that is not there, or a volume is declared nowhere."""
    assert set(COMPOSE) == {"name", "services", "volumes", "x-gatewatch", "x-worker"}
    for name, service in SERVICES.items():
        assert set(service) <= KNOWN_KEYS, name
        assert set(service.get("depends_on", {})) <= set(SERVICES), name
    named = {v.split(":")[0] for s in SERVICES.values() for v in s.get("volumes", []) if v[0] not in "./"}
    assert named == set(COMPOSE["volumes"])


def test_compose_itself_reads_the_file() -> None:
    """Otherwise it is YAML and no compose file. Where compose is not installed, the test above is all there is."""
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        return
    done = subprocess.run(
        [docker, "compose", "-f", str(ROOT / "docker-compose.yml"), "--profile", "demo", "config", "--quiet"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_files_that_are_mounted_exist() -> None:
    """Otherwise Docker makes an empty folder of that name, and the container fails far away from the cause."""
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            if volume.startswith("./"):
                assert (ROOT / volume.split(":")[0]).is_file(), volume
    copied = [
        word
        for line in dockerfile()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    ]
    ignored = (ROOT / ".dockerignore").read_text()
    for name in copied:
        assert (ROOT / name).exists(), name
        assert f"!{Path(name).name}" in ignored, name


def test_defaults_need_no_file() -> None:
    """Otherwise the built-in settings and the port of the image's health check drift apart."""
    assert Settings().metrics.address[1] == int(PORT)
