"""What all benchmarks share: one realistic event, timing by medians, and the table."""

from __future__ import annotations

import os
import platform
import random
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec


@dataclass(slots=True)
class Figure:
    """One line of the results: a rate, beside the limit and the lean loop where there are any."""

    name: str
    value: float
    unit: str
    spread: tuple[float, float]
    target: float | None = None
    limit: float | None = None  # confluent-kafka and msgspec decode only, in the same run
    lean: float | None = None  # what a good engineer would write by hand, in the same run
    note: str = ""


@dataclass(slots=True)
class Results:
    """All figures of one run."""

    figures: list[Figure] = field(default_factory=list)

    def add(self, figure: Figure) -> None:
        """Keep and print one."""
        self.figures.append(figure)
        print(f"{figure.name:58} {figure.value:12,.0f} {figure.unit:10} {figure.note}".rstrip(), flush=True)


def repeat(work: Callable[[], int], runs: int = 5) -> tuple[float, tuple[float, float]]:
    """Run ``work`` after one warm-up; it returns how many items it did. Median and extremes of items a CPU second.

    CPU time, all threads: the targets are per core, and on a shared machine the wall clock measures the others.
    """
    work()
    rates = []
    for _ in range(runs):
        began = time.process_time()
        items = work()
        rates.append(items / (time.process_time() - began))
    return statistics.median(rates), (min(rates), max(rates))


def events(n: int, *, keys: int = 2000, seed: int = 1, endpoints: int = 1) -> list[bytes]:
    """``n`` native events of about 450 bytes, Zipf-like principals, a few failed logins; endpoints in turn."""
    rng = random.Random(seed)
    out = []
    for i in range(n):
        who = min(int(rng.paretovariate(0.9)), keys)
        login = rng.random() < 0.02
        route = "/login" if login else "/v1/chat/completions" if endpoints == 1 else f"/v1/models/m{i % endpoints}"
        event: dict[str, Any] = {
            "ts": 1_790_000_000.0 + i * 0.0005,
            "request_id": f"{rng.getrandbits(128):032x}",
            "method": "POST",
            "path": route,
            "endpoint": route,
            "status": 401 if login and rng.random() < 0.1 else 200,
            "latency_ms": round(rng.lognormvariate(5, 1), 1),
            "principal": None if login else f"customer-{who}",
            "credential": None if login else f"key-{who}",
            "account": f"user-{rng.randrange(keys)}" if login else None,
            "project": f"project-{who % 20}",
            "ip": f"203.{who % 100}.{rng.randrange(4)}.{rng.randrange(256)}",
            "user_agent": "openai-python/1.99",
            "model": "gpt-x",
            "bytes_in": rng.randrange(5000),
            "bytes_out": rng.randrange(20000),
            "tokens_in": rng.randrange(2000),
            "tokens_out": rng.randrange(500),
            "cost_usd": round(rng.random() / 10, 6),
        }
        out.append(msgspec.json.encode({k: v for k, v in event.items() if v is not None}))
    return out


def arrays(values: list[bytes], size: int) -> list[bytes]:
    """The same events as JSON arrays."""
    return [b"[" + b",".join(values[i : i + size]) + b"]" for i in range(0, len(values), size)]


def rss_mb() -> float:
    """Resident memory of this process now, MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def peak_mb() -> float:
    """Peak resident memory of this process, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def machine() -> str:
    """What this ran on."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    except OSError:
        pass
    return f"{os.cpu_count()} cores, {model}, Python {platform.python_version()}, {platform.system()}"
