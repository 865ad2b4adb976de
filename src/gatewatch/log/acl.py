"""Who may read and write which topic: as little as each role needs, as commands of Kafka's own tool."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gatewatch.settings import Settings

# Role: what it reads, and what it writes; names of our own topics, and "sources" for those that gateways write.
READS: Mapping[str, tuple[str, ...]] = {
    "gateway": (),
    "ingest": ("sources", "state"),
    "detect": ("routed", "rollups", "state"),
    "decide": ("findings", "decisions", "verdicts", "state"),
    "notify": ("alerts", "incidents", "verdicts", "actions", "state"),
    "enforce": ("decisions", "state"),
}
WRITES: Mapping[str, tuple[str, ...]] = {
    "gateway": ("sources",),
    "ingest": ("routed", "dead-letters", "findings"),  # findings: what it cannot see
    "detect": ("findings", "rollups", "dead-letters", "state"),
    # routed: what is blocked is told to detect; verdicts: the offset at which one took effect is written beside it;
    # findings: that detect is silent
    "decide": ("alerts", "incidents", "decisions", "verdicts", "actions", "routed", "findings", "state"),
    "notify": ("actions", "verdicts"),  # verdicts: by buttons in Slack
    "enforce": (),
}


@dataclass(frozen=True, slots=True)
class Grant:
    """The same permission on some topics, or on the groups that begin with a name."""

    principal: str
    kind: str  # topic or group
    names: tuple[str, ...]
    operations: tuple[str, ...]

    def command(self, bootstrap: str) -> str:
        """The command that grants it."""
        words = ["kafka-acls.sh", "--bootstrap-server", bootstrap, "--add", "--allow-principal", self.principal]
        for operation in self.operations:
            words += ["--operation", operation]
        for name in self.names:
            words += [f"--{self.kind}", name]
        if self.kind == "group":
            words += ["--resource-pattern-type", "prefixed"]
        return shlex.join(words)


def grants(settings: Settings, principals: Mapping[str, str]) -> Iterator[Grant]:
    """What each role needs, for the roles in ``principals`` (``User:name``), in the order of the flow."""
    for role in READS:
        principal = principals.get(role)
        if principal is None:
            continue
        reads, writes = set(_topics(settings, READS[role])), set(_topics(settings, WRITES[role]))
        alike = ((reads - writes, ("Read",)), (writes - reads, ("Write",)), (reads & writes, ("Read", "Write")))
        for topics, may in alike:  # each command is a start of Java
            if topics:
                yield Grant(principal, "topic", tuple(sorted(topics)), (*may, "Describe", "DescribeConfigs"))
        if reads:
            yield Grant(principal, "group", (f"{settings.kafka.prefix}.{role}",), ("Read",))


def _topics(settings: Settings, names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        if name == "sources":
            yield from (source.topic for source in settings.sources)
        else:
            yield settings.kafka.topic(name)
