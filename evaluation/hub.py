"""CrowdSec hub tests: raw log lines, and the sources that CrowdSec's scenarios accuse in them."""

from __future__ import annotations

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
    "whether the login failed are taken by one pattern; where a line holds several addresses, the accused one is the "
    "client's. A source counts as accused where an alert names it or its /24. Invented: times where a line has none of "
    "ours (a second apart). The tests are made to trip CrowdSec's buckets, mostly of five: six lines, then silence. "
    "Covered are sources with six failed logins on accounts that the line names, with eleven that name none, or with "
    "nine different paths refused or not there: with fewer, a person or a page without a session looks the same."
)
COVERED = re.compile(
    r"bf|brute|enum|probing|sensitive-files|crawl|wordpress-scan|path-traversal|http-generic", re.IGNORECASE
)
NOT_OURS = re.compile(r"(?i)spam|CVE|dos|bad-user-agent|postexploit|magento-ccs|iptables|mikrotik")
SOURCE = re.compile(r'Sources\["([\d.]+)"\]\.GetScope\(\) == "Ip"')
COUNT = re.compile(r"GetEventsCount\(\) == (\d+)")
SYSLOG = re.compile(r"^\w{3} +\d+ [\d:]{8} \S+ \S+: ")
IP = re.compile(r"(?<![\d.])(\d{1,3}(?:\.\d{1,3}){3})(?![\d.])")
VHOST = re.compile(r"^[\w.-]*[A-Za-z][\w.-]* (?=\d{1,3}(?:\.\d{1,3}){3} )")
USER = re.compile(
    r"(?i)(?:user(?:name)?|login|account(?:id)?|for|uname|identifier|principalname|set_id|email)[\"']*\s*[=: ]\s*"
    r"[\"'`\[]*([\w.@-]+)"
)
FAILED = re.compile(
    r"fail|invalid|denied|unsuccess|incorrect|not.found|can't find|unauthor|wrong|bad|error|reject|401|403",
    re.IGNORECASE,
)
START = 1_700_000_000.0
LOGINS = 6  # failures at once that `failures_at_once` asks for
UNNAMED = 11  # failures in a row that `cracking` asks for at a small site
PATHS = 9  # names not there that `enumeration` asks for


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
    covered = [v for v in verdicts if v[3]]
    hit = [v for v in covered if v[2]]
    why = Counter(reason for *_, ok, _, reason in verdicts if not ok)
    misses = "; ".join(f"{n}: {reason}" for reason, n in why.most_common())
    late = "; ".join(f"{test} {source}" for test, source, ok, *_ in covered if not ok)
    return [
        Figure(
            what="expected sources accused, of the kinds that are covered",
            value=of(len(hit), len(covered)),
            target=">= 90 %",
            met=len(hit) >= 0.9 * len(covered),
            published="CrowdSec: all, by construction",
            rule="six failures of an address: all, by construction; it also accuses every broken client",
            note=f"missed: {late}" if late else "",
        ),
        Figure(
            what=f"expected sources accused, all {len(tests)} tests",
            value=of(len(named), len(verdicts)),
            note=misses,
        ),
    ]


def judge(test: Test) -> Iterator[tuple[str, str, bool, bool, str]]:
    """Test, source, accused, whether that is expected of us, why not."""
    events = list(_events(test.lines, test.sources))
    done = replayed(native(events))
    accused = {f.key for f in done.findings if f.warm or not f.learned}
    for source in sorted(test.sources):
        mine = [event for event in events if event["ip"] == source]
        network = source.rsplit(".", 1)[0] + ".0/24"
        ok = source in accused or network in accused
        why = _why(mine)
        yield test.name, source, ok, why == COVERED_BUT, why


COVERED_BUT = "covered, and missed"


def _why(mine: list[dict[str, Any]]) -> str:
    """Why a source need not be accused, if so."""
    if not mine:
        return "no line of it could be read"
    failed = [event for event in mine if event.get("auth") == "failure"]
    named = sum(event.get("account") is not None for event in failed)
    missing = {event.get("path") for event in mine if event.get("status") in (403, 404, 405, 422)} - {None}
    if named >= LOGINS or len(failed) >= UNNAMED or len(missing) >= PATHS:
        return COVERED_BUT
    if len(failed) >= LOGINS:
        return f"fewer than {UNNAMED} failed logins, and no account in the line"
    if all(event["status"] in (200, 302) for event in mine):
        return (
            "served, or no sign of failure: only the path or a word says that it is an attack, and content is not ours"
        )
    return f"fewer than {LOGINS} failed logins, and than {PATHS} paths refused or not there"


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


def _events(lines: list[str], sources: set[str]) -> Iterator[dict[str, Any]]:
    """What a gateway would have said of each line; lines without an address are left out."""
    combined, envoy = get_format("combined"), get_format("envoy")
    for number, line in enumerate(lines):
        bare = VHOST.sub("", SYSLOG.sub("", line))
        decoded = combined.decode([bare.encode()]).events
        if not decoded and "downstream_remote_address" in bare:
            decoded = envoy.decode([bare[bare.index("{") :].encode()]).events
        if decoded:
            event = decoded[0]
            row: dict[str, Any] = {"ts": event.ts, "ip": event.ip, "path": event.path, "status": event.status}
            yield {**row, "method": event.method, "user_agent": event.user_agent}
            continue
        address = _address(bare, sources)
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


def _address(line: str, sources: set[str]) -> str | None:
    """The client's address: the accused one, else the first that is one."""
    found = [ip for ip in IP.findall(line) if all(int(part) < 256 for part in ip.split("."))]
    return next((ip for ip in found if ip in sources), found[0] if found else None)
