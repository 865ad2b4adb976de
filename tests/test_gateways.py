"""The recipes of deploy/gateways: what is pasted is read by the program, and what they say of blind spots is true."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import sys
import types
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from gatewatch import settings as settings_module
from gatewatch.cli.check import Level, remarks_on
from gatewatch.enforce.asgi import GatewatchMiddleware
from gatewatch.events import formats
from gatewatch.registry import load_all
from gatewatch.testing.recipes import MARK, blind_part, folders

FOLDERS = folders()
ROOT = FOLDERS[0].parent


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_settings_of_a_recipe_are_right(folder: Path) -> None:
    """If this fails, the first thing that a user of that gateway pastes is refused, or blocks nobody."""
    settings = settings_module.load(folder / "gatewatch.yaml")
    errors = [r for r in remarks_on(settings, load_all(), None) if r.level is Level.ERROR]
    assert errors == []
    if settings.receive is not None:
        read = {source.topic for source in settings.sources}
        assert {source.topic for source in settings.receive.sources.values()} <= read


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_blind_spots_are_those_of_the_format(folder: Path) -> None:
    """If this fails, a user believes that a detector watches what it cannot see (`make docs` writes the part again)."""
    head, mark, part = (folder / "README.md").read_text(encoding="utf-8").partition(MARK)
    assert mark
    assert part.strip() == blind_part(folder).strip()
    for link in re.findall(r"\]\(([^)#]+)\)", head):
        assert (folder / link).exists(), link


@pytest.mark.parametrize("path", sorted(ROOT.glob("*/*.yaml")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_yaml_file_can_be_read(path: Path) -> None:
    """If this fails, the gateway refuses what is pasted."""
    assert yaml.safe_load(path.read_text(encoding="utf-8"))


def test_a_line_of_traefik_is_read_by_its_map() -> None:
    """If this fails, every event of Traefik is a dead letter, or has no client."""
    line = (
        b'{"ClientAddr":"203.0.113.9:51234","ClientHost":"203.0.113.9","ClientUsername":"-","DownstreamContentSize":180,'
        b'"DownstreamStatus":401,"Duration":4211000,"RequestContentSize":512,"RequestMethod":"POST",'
        b'"RequestPath":"/v1/completions?a=b","RouterName":"models@file","StartUTC":"2026-11-24T03:37:47.070Z",'
        b'"level":"info","msg":"","request_User-Agent":"curl/8","time":"2026-11-24T03:37:47Z"}'
    )
    source = settings_module.load(ROOT / "traefik" / "gatewatch.yaml").sources[0]
    (event,) = formats.get(source.format, source=source).decode([line]).events
    assert (event.ts, event.ip, event.status, event.path) == (1795491467.0, "203.0.113.9", 401, "/v1/completions")
    assert (event.latency_ms, event.principal, event.user_agent) == (4.211, None, "curl/8")


def test_the_recipe_for_python_servers_calls_the_middleware_as_it_is() -> None:
    """If this fails, a model server that follows the recipe does not start."""
    tree = ast.parse((ROOT / "fastapi" / "app.py").read_text(encoding="utf-8"))
    (call,) = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func) == "app.add_middleware"]
    assert {k.arg for k in call.keywords} <= set(inspect.signature(GatewatchMiddleware.__init__).parameters)


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The hook's module, with stand-ins for LiteLLM and FastAPI, and without its thread."""
    logger, fastapi = types.ModuleType("litellm.integrations.custom_logger"), types.ModuleType("fastapi")
    vars(logger)["CustomLogger"] = type("CustomLogger", (), {})
    vars(fastapi)["HTTPException"] = type("HTTPException", (Exception,), {})
    for name in ("litellm", "litellm.integrations"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "litellm.integrations.custom_logger", logger)
    monkeypatch.setitem(sys.modules, "fastapi", fastapi)
    monkeypatch.setenv("GATEWATCH_KEY", "k")
    monkeypatch.setattr("threading.Thread.start", lambda _self: None)
    spec = importlib.util.spec_from_file_location("gatewatch_hook", ROOT / "litellm" / "gatewatch_hook.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    module.gatewatch._decisions._client.close()


def test_the_hook_of_litellm_follows_the_stream(hook: Any) -> None:
    """If this fails, a key that is blocked goes on calling models, or stays out when it was let go."""
    common = {"origin": "gatewatch", "duration": "1h0m5s", "scenario": "gatewatch/rate_spike", "type": "ban"}
    key = "ab" * 32
    block = {**common, "id": 1, "scope": "credential", "value": f"sha256:{key}"}
    network = {**common, "id": 2, "scope": "Range", "value": "203.0.113.0/24"}
    throttle = {**block, "id": 3, "type": "throttle"}
    changes = [[throttle], [block]]
    answers = iter([{"new": [block, network], "deleted": None}, *({"new": None, "deleted": d} for d in changes)])
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.params["startup"])
        return httpx.Response(200, json=next(answers))

    decisions = hook.gatewatch._decisions
    decisions._client.close()
    decisions._client = httpx.Client(transport=httpx.MockTransport(answer), base_url="http://gatewatch")
    caller = hook.caller_of(types.SimpleNamespace(api_key=key, key_alias="acme"), {"metadata": {}})
    chain = {"metadata": {"requester_ip_address": "198.51.100.1, ::ffff:203.0.113.7"}}
    near = hook.caller_of(types.SimpleNamespace(api_key="litellm_proxy_master_key", key_alias=None), chain)
    assert caller == {"principal": "acme", "credential": f"sha256:{key}"}
    assert near == {"ip": "203.0.113.7"}
    decisions.pull()
    assert decisions.blocks(caller)
    assert decisions.blocks(near)
    assert not decisions.blocks({"ip": "198.51.100.1", "principal": "other"})
    decisions.pull()
    assert decisions.blocks(caller), "the end of a throttle is not the end of the block"
    decisions.pull()
    assert not decisions.blocks(caller)
    assert decisions.blocks(near)
    assert asked == ["true", "false", "false"]
    assert hook.seconds("1h0m5s") == 3605
