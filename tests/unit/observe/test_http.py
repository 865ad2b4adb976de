"""Metrics and probes, asked over a real socket."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from gatewatch.errors import ConfigError
from gatewatch.metrics import Metrics
from gatewatch.observe.http import Server, serve
from gatewatch.settings import HttpSettings

ANY_PORT = HttpSettings(listen="127.0.0.1:0")


class Role:
    """A role whose state a test sets."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.healthy = True
        self.ready = False

    def serve(self, settings: HttpSettings) -> Server:
        """Serve it."""
        return serve(settings, self.metrics, healthy=lambda: self.healthy, ready=lambda: self.ready)


@pytest.fixture
def role() -> Role:
    """A role that has just started."""
    return Role()


@pytest.fixture
def client(role: Role) -> Iterator[httpx.Client]:
    """A client of its server."""
    server = role.serve(ANY_PORT)
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=10.0) as client:
        yield client
    server.close()


def test_metrics_are_served_as_prometheus_reads_them(role: Role, client: httpx.Client) -> None:
    """Otherwise Prometheus scrapes nothing, and nobody sees a worker fall behind."""
    role.metrics.moved_rows(3)
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert "gatewatch_moved_rows_total 3.0" in answer.text.splitlines()


def test_probes_follow_the_role(role: Role, client: httpx.Client) -> None:
    """Otherwise an orchestrator sends traffic to a worker that reads old events, or never restarts a hung one."""
    assert (client.get("/healthz").status_code, client.get("/readyz").status_code) == (200, 503)
    role.ready = True
    assert client.get("/readyz").json() == {"ok": True}
    role.healthy = False
    assert client.get("/healthz").status_code == 503


def test_nothing_else_is_served(client: httpx.Client) -> None:
    """Otherwise a scanner finds a surface that nobody thought of."""
    assert client.get("/").status_code == 404
    assert client.post("/metrics").status_code == 405


def test_a_token_guards_metrics_and_not_probes(role: Role, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise who may reach the port can read how much traffic and how many attacks there are."""
    monkeypatch.setenv("SCRAPE_TOKEN", "open sesame")
    server = role.serve(HttpSettings(listen="127.0.0.1:0", token_env="SCRAPE_TOKEN"))
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=10.0) as client:
            wrong = {"authorization": "Bearer open"}
            right = {"authorization": "Bearer open sesame"}
            assert client.get("/metrics").status_code == 401
            assert client.get("/metrics", headers=wrong).status_code == 401
            assert client.get("/metrics", headers=right).status_code == 200
            assert client.get("/healthz").status_code == 200
    finally:
        server.close()


def test_a_token_that_is_not_set_stops_the_start(role: Role) -> None:
    """Otherwise a typo in a deployment opens the port to everybody."""
    with pytest.raises(ConfigError, match=r"metrics\.token_env: environment variable SCRAPE_TOKEN is not set"):
        role.serve(HttpSettings(listen="127.0.0.1:0", token_env="SCRAPE_TOKEN"))


def test_a_port_that_is_taken_is_named(role: Role, client: httpx.Client) -> None:
    """Otherwise the second worker on a host dies with a traceback of the web server."""
    taken = f"127.0.0.1:{client.base_url.port}"
    with pytest.raises(ConfigError, match=rf"metrics\.listen: cannot listen on {taken}"):
        role.serve(HttpSettings(listen=taken))
