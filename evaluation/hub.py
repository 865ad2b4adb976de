"""CrowdSec hub tests: raw log lines, and the sources that CrowdSec's scenarios accuse in them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from figures import DATA, Figure, native, of, replayed

from gatewatch.events.formats import get as get_format

TITLE = "CrowdSec hub tests (folders a-m)"
ON = (
    "The raw lines of each test that expects an address to be accused of guessing passwords, enumerating users or "
    "probing HTTP. Access logs are read by the formats `combined` and `envoy`; of other logs the address, the user and "
    "whether the login failed are taken by one pattern. A source counts as accused where an alert names it or its /24. "
    "Invented: times where a line has none of ours (a second apart). The tests are made to trip CrowdSec's buckets, "
    "mostly of five: six lines, then silence. Our tests ask for more evidence."
)
COVERED = re.compile(
    r"bf|brute|enum|probing|sensitive-files|crawl|wordpress-scan|path-traversal|http-generic", re.IGNORECASE
)
NOT_OURS = re.compile(r"(?i)spam|CVE|dos|bad-user-agent|postexploit|magento-ccs|iptables|mikrotik")
SOURCE = re.compile(r'Sources\["([\d.]+)"\]\.GetScope\(\) == "Ip"')
COUNT = re.compile(r"GetEventsCount\(\) == (\d+)")
SYSLOG = re.compile(r"^\w{3} +\d+ [\d:]{8} \S+ \S+: ")
IP = re.compile(r"(?<![\d.])(\d{1,3}(?:\.\d{1,3}){3})(?![\d.])")
USER = re.compile(r"(?i)(?:user(?:name)?|login|account|for|uname)[\"']?\s*[=: ]\s*[\"'`]?([\w.@-]+)")
FAILED = re.compile(
    r"fail|invalid|denied|unsuccess|incorrect|not.found|unauthor|wrong|bad|error|reject|401|403", re.IGNORECASE
)
START = 1_700_000_000.0
ENOUGH = 11  # failures in a row that `cracking` asks for at a small site


@dataclass(slots=True)
class Test:
    """One folder: whom it accuses, and how many events CrowdSec needed."""

    name: str
    sources: set[str] = field(default_factory=set)
    events: int = 0
    lines: list[str] = field(default_factory=list)


def run() -> list[Figure]:
    """How many of the expected sources are accused."""
    tests = list(_tests())
    verdicts = [verdict for test in tests for verdict in judge(test)]
    named = [v for v in verdicts if v[2]]
    large = [v for v in verdicts if v[3] >= ENOUGH]
    hit = [v for v in large if v[2]]
    why = Counter(reason for *_, ok, _, reason in verdicts if not ok)
    misses = "; ".join(f"{n}: {reason}" for reason, n in why.most_common())
    late = "; ".join(f"{test} {source}: {reason}" for test, source, ok, _, reason in large if not ok)
    return [
        Figure(
            what=f"expected sources accused, {len(tests)} tests",
            value=of(len(named), len(verdicts)),
            target=">= 90 %",
            met=len(named) >= 0.9 * len(verdicts),
            published="CrowdSec: all, by construction",
            rule="six failures of an address: all, by construction; it also accuses every broken client",
            note=misses,
        ),
        Figure(
            what=f"of those with {ENOUGH} events or more",
            value=of(len(hit), len(large)),
            target=">= 90 %",
            met=len(hit) >= 0.9 * len(large),
            note=late,
        ),
    ]


def judge(test: Test) -> Iterator[tuple[str, str, bool, int, str]]:
    """Test, source, accused, its events, why not."""
    events = list(_events(test.lines))
    done = replayed(native(events))
    accused = {f.key for f in done.findings if f.warm or not f.learned}
    for source in sorted(test.sources):
        mine = [event for event in events if event["ip"] == source]
        network = source.rsplit(".", 1)[0] + ".0/24"
        ok = source in accused or network in accused
        bad = sum(event.get("auth") == "failure" or event.get("status", 0) >= 400 for event in mine)
        yield test.name, source, ok, bad, _why(len(mine), bad, mine)


def _why(events: int, bad: int, mine: list[dict[str, Any]]) -> str:
    if not events:
        return "no line of it could be read"
    if bad < ENOUGH:
        return f"fewer than {ENOUGH} failures or refusals"
    paths = {event.get("path") for event in mine} - {None}
    if paths and all(event.get("status") in (200, 302) for event in mine):
        return "every request was served: only the path says that it is an attack, and content is not ours"
    return f"{bad} failures on {len(paths)} paths without enough evidence"


def _tests() -> Iterator[Test]:
    for folder in sorted((DATA / "crowdsec_hub").iterdir()):
        assertion = folder / "scenario.assert"
        if NOT_OURS.search(folder.name) or not COVERED.search(folder.name) or not assertion.exists():
            continue
        text = assertion.read_text(encoding="utf-8", errors="replace")
        test = Test(folder.name, set(SOURCE.findall(text)), max(map(int, COUNT.findall(text)), default=0))
        for log in sorted(folder.glob("*.log")):
            test.lines += log.read_text(encoding="utf-8", errors="replace").splitlines()
        if test.sources:
            yield test


def _events(lines: list[str]) -> Iterator[dict[str, Any]]:
    """What a gateway would have said of each line; lines without an address are left out."""
    combined, envoy = get_format("combined"), get_format("envoy")
    for number, line in enumerate(lines):
        bare = SYSLOG.sub("", line)
        decoded = combined.decode([bare.encode()]).events
        if not decoded and "downstream_remote_address" in bare:
            decoded = envoy.decode([bare[bare.index("{") :].encode()]).events
        if decoded:
            event = decoded[0]
            row: dict[str, Any] = {"ts": event.ts, "ip": event.ip, "path": event.path, "status": event.status}
            yield {**row, "method": event.method, "user_agent": event.user_agent}
            continue
        address = _address(bare)
        if address is None:
            continue
        user = USER.search(bare)
        failed = FAILED.search(bare)
        yield {
            "ts": START + number,
            "ip": address,
            "account": user[1] if user else None,
            "auth": "failure" if failed else "success",
            "status": 401 if failed else 200,
        }


def _address(line: str) -> str | None:
    """The client's address: by its field where the line is JSON, else the first that is one."""
    at = line.find("{")
    if at >= 0:
        try:
            flat = json.dumps(json.loads(line[at:]))
            line = flat
        except ValueError:
            pass
    found = [ip for ip in IP.findall(line) if all(int(part) < 256 for part in ip.split("."))]
    return found[0] if found else None
