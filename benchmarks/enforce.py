"""What enforcement costs and how soon it holds, with real nginx: the figures of docs/enforcement.md.

Usage: python benchmarks/enforce.py [--trials 60] [--seconds 5]. Needs wrk (``apt-get install wrk``) for the load.
Everything stays on this machine; the load is bounded by --seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml
from common import machine
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from gatewatch import registry
from gatewatch.enforce.asgi import GatewatchMiddleware
from gatewatch.log import open_log
from gatewatch.log.base import Log, TopicSpec
from gatewatch.observe.http import Server
from gatewatch.settings import KafkaSettings
from gatewatch.testing.kafka import free_ports, running_broker
from gatewatch.testing.nginx import Nginx, recipe, server

RECIPES = Path(__file__).resolve().parents[1] / "deploy" / "gateways" / "nginx"
GATEWATCH = str(Path(sys.executable).with_name("gatewatch"))
TOKEN, KEY, TOPIC = "authz-token", "bouncer-key", "edge"
STYLES = ("auth_request", "map", "asgi")
KAFKA_PREFIX = "bench"
NO_KEEPALIVE = httpx.Limits(max_keepalive_connections=0)  # a reload of nginx ends connections that wait


@dataclass
class Site:
    """What runs: ports of each style, and of the same without enforcement."""

    log: Log
    ports: dict[str, int]


async def _model(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("42")


@contextmanager
def _process(*command: str) -> Iterator[None]:
    env = {**os.environ, "AUTHZ_TOKEN": TOKEN, "MODEL_KEY": KEY}
    running = subprocess.Popen([GATEWATCH, *command], env=env)
    try:
        yield
    finally:
        running.send_signal(signal.SIGTERM)
        running.wait(60)


def _settings(folder: Path, bootstrap: str, enforce: int, nginx: Nginx) -> Path:
    detectors: dict[str, Any] = {name: {"mode": "off"} for name in registry.names()}
    detectors["credential_stuffing"] = {"mode": "block", "block": {"scope": "ip", "min_severity": "medium"}}
    document = {
        "kafka": {"bootstrap": [bootstrap], "prefix": KAFKA_PREFIX, "partitions": 2},
        "sources": [{"topic": TOPIC, "format": "nginx"}],
        "metrics": {"listen": "127.0.0.1:0"},
        "logging": {"level": "error"},
        "guards": {"share_of_traffic": 1.0, "blocks_per_minute": 100_000},
        "detectors": detectors,
        "enforce": {
            "listen": f"127.0.0.1:{enforce}",
            "authz_token_env": "AUTHZ_TOKEN",
            "bouncers": {"model": {"key_env": "MODEL_KEY"}},
            "nginx": {"folder": str(folder / "maps"), "reload": nginx.reload},
        },
    }
    path = folder / "gatewatch.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def _nginx(folder: Path, ports: dict[str, int], enforce: int) -> Nginx:
    """Nginx answers for the model itself, so that what is measured is enforcement and not a model."""
    maps = folder / "maps"
    maps.mkdir()
    for name in ("ip.conf", "principal.conf"):
        (maps / name).touch()
    http = recipe(RECIPES / "log.conf", {"/var/log/nginx/events.json access_events": "off"})
    http += recipe(RECIPES / "map.conf", {"/etc/nginx/gatewatch": str(maps)})
    http += f"  server {{ listen 127.0.0.1:{ports['model']}; location / {{ return 200 42; }} }}\n"
    http += recipe(RECIPES / "upstream.conf", {"127.0.0.1:8081": f"127.0.0.1:{enforce}"})
    asks = recipe(RECIPES / "auth-request.conf", {"change-me": TOKEN})
    servers = server(ports["auth_request"], ports["model"], asks)
    servers += server(ports["map"], ports["model"], recipe(RECIPES / "map-server.conf", {}))
    servers += server(ports["nginx alone"], ports["model"])
    return Nginx(folder, http, servers)


@contextmanager
def site() -> Iterator[Site]:
    """Kafka, nginx, two model servers and a worker of all roles."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = stack.enter_context(running_broker())
        names = ("enforce", "model", "nginx alone", "auth_request", "map")
        ports = dict(zip(names, free_ports(len(names)), strict=True))
        plain = Server(Starlette(routes=[Route("/", _model)]), "127.0.0.1", 0, "bench")
        stack.callback(plain.close)
        app = Starlette(routes=[Route("/", _model)])
        middleware = GatewatchMiddleware(app, f"http://127.0.0.1:{ports['enforce']}", KEY)
        stack.callback(middleware.close)
        guarded = Server(middleware, "127.0.0.1", 0, "bench")
        stack.callback(guarded.close)
        ports |= {"server alone": plain.port, "asgi": guarded.port}
        nginx = _nginx(folder, ports, ports["enforce"])
        stack.enter_context(nginx.running())
        config = _settings(folder, broker.bootstrap, ports["enforce"], nginx)
        log = open_log(KafkaSettings(bootstrap=(broker.bootstrap,), prefix=KAFKA_PREFIX, partitions=2))
        stack.callback(log.close)
        with closing(log.admin()) as admin:
            admin.create([TopicSpec(TOPIC, 1)])
        subprocess.run([GATEWATCH, "topics", "create", "--config", str(config)], check=True, capture_output=True)
        stack.enter_context(_process("worker", "--config", str(config)))
        yield Site(log, ports)


def attack(ip: str) -> bytes:
    """Enough for an alert, as one value: twenty accounts tried from one address."""
    now = time.time()
    rows = [{"ts": now, "ip": ip, "m": "POST", "uri": "/v1/login", "st": 401, "user": f"v{i}-{ip}"} for i in range(20)]
    return json.dumps(rows).encode()


def until_refused(here: Site, trials: int) -> dict[str, list[float]]:
    """Seconds from the append of an attack to the first 403 of its address, for each style."""
    found: dict[str, list[float]] = {style: [] for style in STYLES}
    with closing(here.log.producer(linger_ms=0)) as producer, httpx.Client(timeout=10.0, limits=NO_KEEPALIVE) as client:
        for trial in range(-3, trials):  # the first ones wait for processes to start
            ip = f"198.51.{100 + (trial + 3) // 250}.{(trial + 3) % 250 + 1}"
            producer.send(TOPIC, attack(ip), partition=0)
            producer.flush(10.0)
            began, waiting = time.perf_counter(), set(STYLES)
            headers = {"X-Forwarded-For": ip, "X-Real-IP": ip}
            while waiting:
                for style in sorted(waiting):
                    if client.get(f"http://127.0.0.1:{here.ports[style]}/", headers=headers).status_code == 403:
                        waiting.discard(style)
                        if trial >= 0:
                            found[style].append(time.perf_counter() - began)
                time.sleep(0.002)
                if time.perf_counter() - began > 120.0:
                    raise SystemExit(f"{ip} is not refused by {waiting}")
    return found


def load(here: Site, name: str, seconds: int) -> tuple[float, float, float]:
    """Requests a second, and the latency of half and of 99 % of them in ms, by wrk with 16 connections."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise SystemExit("wrk is not installed: apt-get install wrk")
    url = f"http://127.0.0.1:{here.ports[name]}/"
    options = ["-t1", "-c16", f"-d{seconds}", "--latency", "-H", "X-Forwarded-For: 203.0.113.5"]
    out = subprocess.run([wrk, *options, url], capture_output=True, text=True, check=True).stdout
    half, most = (_ms(re.search(rf"^\s+{q}%\s+([0-9.]+)(us|ms|s)", out, re.MULTILINE)) for q in (50, 99))
    rate = re.search(r"Requests/sec:\s+(\S+)", out)
    return float(rate[1]) if rate else 0.0, half, most


def _ms(match: re.Match[str] | None) -> float:
    if match is None:
        raise SystemExit("wrk says no latency: another version of it?")
    return float(match[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[match[2]]


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--seconds", type=int, default=5)
    args = parser.parse_args()
    with site() as here:
        times = until_refused(here, args.trials)
        print(f"{machine()}\n\n| style | append to 403: p50 | p99 |\n|---|---|---|")
        for style, seconds in times.items():
            p99 = statistics.quantiles(seconds, n=100)[98]
            print(f"| {style} | {statistics.median(seconds):.2f} s | {p99:.2f} s |")
        print("\n| served by | requests a second | p50 | p99 |\n|---|---|---|---|")
        for name in ("nginx alone", "map", "auth_request", "server alone", "asgi"):
            rate, half, most = load(here, name, args.seconds)
            print(f"| {name} | {rate:,.0f} | {half:.2f} ms | {most:.2f} ms |")


if __name__ == "__main__":
    main()
