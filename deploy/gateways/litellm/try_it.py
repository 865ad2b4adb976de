"""A real LiteLLM proxy with mock answers, from its log to a refused key: ``python try_it.py /path/to/litellm``.

``litellm`` is the command of ``pip install 'litellm[proxy]'``, best in a virtual environment of its own (755 MB). Kafka
comes from gatewatch.testing. Everything stays on this machine. The limit is 60 requests a minute, so that it is short.
It ends with an error unless the key above its limit is told of and refused, and the other one is neither.
`make litellm` does all of it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from gatewatch import registry
from gatewatch.log import open_log
from gatewatch.log.base import TopicSpec
from gatewatch.settings import load
from gatewatch.testing.kafka import free_ports, running_broker

HERE = Path(__file__).parent
GATEWATCH = str(Path(sys.executable).with_name("gatewatch"))
PATIENCE_S = 180.0


@contextmanager
def process(*command: str, cwd: Path, **env: str) -> Iterator[None]:
    """A program, with its output in a file; ended at the end."""
    with (cwd / f"{Path(command[0]).name}-{command[1]}.out").open("wb") as out:
        running = subprocess.Popen(command, cwd=cwd, env={**os.environ, **env}, stdout=out, stderr=subprocess.STDOUT)
        try:
            yield
        finally:
            running.terminate()
            running.wait(60)


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {PATIENCE_S:.0f} s: {what}")
        time.sleep(0.2)


def answers(url: str) -> bool:
    """Whether somebody answers there."""
    try:
        return httpx.get(url, timeout=2.0).status_code < 500
    except httpx.HTTPError:
        return False


def ask(url: str, key: str) -> int:
    """One call of a customer; the status."""
    body = {"model": "gpt-mock", "messages": [{"role": "user", "content": "hello"}]}
    return httpx.post(
        f"{url}/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {key}"}, timeout=30.0
    ).status_code


def settings(folder: Path, bootstrap: str, receive: int, enforce: int) -> Path:
    """The recipe's settings with the ports of this run."""
    document: dict[str, Any] = yaml.safe_load((HERE / "gatewatch.yaml").read_text())
    document["kafka"] |= {"bootstrap": [bootstrap], "partitions": 2}
    document["receive"]["listen"] = f"127.0.0.1:{receive}"
    document["enforce"]["listen"] = f"127.0.0.1:{enforce}"
    document["metrics"] = {"listen": "127.0.0.1:0"}
    document["guards"] = {"share_of_traffic": 1.0}  # one customer is most of the traffic here
    document["detectors"] = {name: {"mode": "off"} for name in registry.names()} | document["detectors"]
    document["detectors"]["rate_spike"]["limits"]["requests_per_minute"] = 60
    path = folder / "gatewatch.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def main() -> None:
    """Run it, and say what happened."""
    litellm = sys.argv[1]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = stack.enter_context(running_broker())
        receive, enforce, proxy = free_ports(3)
        config = settings(folder, broker.bootstrap, receive, enforce)
        loaded = load(config)
        with closing(open_log(loaded.kafka)) as log, closing(log.admin()) as admin:
            admin.create([TopicSpec("llm-logs", 2)])
        subprocess.run([GATEWATCH, "topics", "create", "--config", str(config)], check=True, capture_output=True)
        secrets = {"LITELLM_TOKEN": "log-token", "LITELLM_BOUNCER": "bouncer-key"}
        for command in ("receive", "worker"):
            stack.enter_context(process(GATEWATCH, command, "--config", str(config), cwd=folder, **secrets))
        for name in ("gatewatch_hook.py", "static_keys.py"):
            shutil.copy(HERE / name, folder)
        document = yaml.safe_load((HERE / "config.yaml").read_text())
        document["general_settings"] = {"custom_auth": "static_keys.user_api_key_auth"}
        (folder / "config.yaml").write_text(yaml.safe_dump(document))
        environment = {
            "GENERIC_LOGGER_ENDPOINT": f"http://127.0.0.1:{receive}/v1/logs",
            "GENERIC_LOGGER_HEADERS": "Authorization=Bearer log-token",
            "DEFAULT_FLUSH_INTERVAL_SECONDS": "1",
            "GATEWATCH_URL": f"http://127.0.0.1:{enforce}",
            "GATEWATCH_KEY": "bouncer-key",
            "LITELLM_MASTER_KEY": f"sk-{os.urandom(32).hex()}",  # without one it does not start; nobody uses it here
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # it would fetch one
        }
        options = ("--config", str(folder / "config.yaml"), "--port", str(proxy), "--host", "127.0.0.1")
        stack.enter_context(process(litellm, *options, cwd=folder, **environment))
        url = f"http://127.0.0.1:{proxy}"
        try:
            until(lambda: answers(f"{url}/health/liveliness"), "LiteLLM answers")
            until(lambda: answers(f"http://127.0.0.1:{enforce}/health"), "the enforce role answers")
            tell(url, loaded.kafka.topic("alerts"), config)
        except SystemExit:
            for out in folder.glob("*.out"):
                print(f"--- {out.name}\n{out.read_text()[-3000:]}")
            raise


def tell(url: str, topic: str, config: Path) -> None:
    """One customer above the limit, one below it.

    Raises:
        SystemExit: it is not as it should be.
    """
    below = ask(url, "sk-chat-0123456789")
    print("below the limit:", below, "- unknown key:", ask(url, "sk-wrong"))
    began, calls = time.monotonic(), 0
    status = 200
    while status == 200:
        status, calls = ask(url, "sk-batch-0123456789"), calls + 1
        if time.monotonic() - began > PATIENCE_S:
            raise SystemExit("acme-batch was never refused")
    print(f"acme-batch: refused with {status} at call {calls}, {time.monotonic() - began:.1f} s after the first")
    meanwhile = ask(url, "sk-chat-0123456789")
    print("acme-chat meanwhile:", meanwhile)
    with closing(open_log(load(config).kafka)) as log:
        alerts = [json.loads(v) for chunk in log.read(topic) for v in chunk.values if v]
    keys = {alert["key"] for alert in alerts}
    for alert in [alert for alert in alerts if alert["key"] == "acme-batch"][:1]:
        print(f"alert: {alert['detector']} on {alert['scope']} {alert['key']}: {alert['title']}")
        print(f"since the event that told: {time.time() - alert['last_ts']:.1f} s")
    if (below, status, meanwhile) != (200, 403, 200) or "acme-batch" not in keys or "acme-chat" in keys:
        raise SystemExit(f"that is not as it should be; alerts are on {keys}")


if __name__ == "__main__":
    main()
