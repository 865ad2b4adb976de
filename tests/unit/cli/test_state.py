"""`gatewatch state` and `gatewatch topics acl`: what an operator sees of snapshots, and what roles may do on Kafka."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from gatewatch.catalog import Catalog
from gatewatch.cli import app, own
from gatewatch.decide import memory
from gatewatch.decide.decider import Decider
from gatewatch.detect.task import PARTS
from gatewatch.events.batch import VERSION
from gatewatch.log.acl import grants
from gatewatch.log.base import Log, TopicPartition
from gatewatch.log.memory import MemoryLog
from gatewatch.log.topics import specs
from gatewatch.registry import load_all
from gatewatch.settings import Settings, Source
from gatewatch.state import snapshots
from gatewatch.state.layout import ensure_layout, read_layout
from gatewatch.state.packing import Arrays
from gatewatch.state.snapshots import Draft, Manifest

STATE = TopicPartition("gatewatch.state", 3)
VERSION_HERE = load_all()["rate_spike"].version


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> MemoryLog:
    """A log with one snapshot, which commands read instead of Kafka."""
    made = MemoryLog()
    with closing(made.admin()) as admin:
        admin.create(specs(Settings()))
    ensure_layout(made, Settings())
    arrays = {"rate_spike/ip/keys": np.arange(300_000, dtype=np.uint64) ** 3, "rate_spike/none": np.zeros((0, 3))}
    write(made, "detect-3", 42, {"rate_spike": VERSION_HERE}, b"book", arrays)

    @contextmanager
    def opened(_config: Path | None) -> Iterator[tuple[Settings, Log]]:
        yield Settings(), made

    monkeypatch.setattr(own, "own_log", opened)
    monkeypatch.setattr("gatewatch.cli.state.own_log", opened)
    return made


def test_a_snapshot_is_listed_checked_and_taken_out(log: MemoryLog, tmp_path: Path) -> None:
    """If this fails, an operator cannot say what a restart would begin with."""
    listed = json.loads(CliRunner().invoke(app, ["state", "list", "--json"]).stdout)
    assert [(r["task"], r["offset"], r["versions"]) for r in listed] == [("detect-3", 42, {"rate_spike": VERSION_HERE})]
    assert listed[0]["chunks"] > 1
    assert CliRunner().invoke(app, ["state", "verify"]).exit_code == 0
    out = tmp_path / "state.npz"
    assert CliRunner().invoke(app, ["state", "export", "detect-3", "--out", str(out)]).exit_code == 0
    with np.load(out, allow_pickle=False) as found:
        assert found["rate_spike.ip.keys"][7] == 343


def test_what_decide_knows_is_listed_checked_and_taken_out(log: MemoryLog, tmp_path: Path) -> None:
    """If this fails, nobody can look at why decide does, after a restart, what it does."""
    parts = Decider(Settings(), {}, Catalog()).copy() | {"tasks": [[3, [41, float("-inf")]]]}
    known = memory.Memory(memory.Book(config_hash="c", catalog_hash="", heard={}), parts)
    write(log, "decide", 43, known.versions, known.document(), known.arrays)
    listed = json.loads(CliRunner().invoke(app, ["state", "list", "--json"]).stdout)
    first = listed[0]
    assert (first["task"], first["offset"], first["versions"]) == ("decide", 43, {"decide": 1})
    assert "decide: whole" in CliRunner().invoke(app, ["state", "verify"]).stdout
    out = tmp_path / "state.json"
    assert CliRunner().invoke(app, ["state", "export", "decide", "--out", str(out)]).exit_code == 0
    found = json.loads(out.read_bytes())
    assert found["book"]["config_hash"] == "c"
    assert found["state"]["tasks"] == [[3, [41, None]]]  # JSON knows no infinity


def write(
    log: Log,
    task: str,
    offset: int,
    versions: dict[str, int],
    document: bytes,
    arrays: Arrays,
    **changes: Any,
) -> None:
    """A snapshot in the log; by default of this version and installation."""
    schema = memory.KIND.schema if task == "decide" else VERSION.decode()
    place = TopicPartition(STATE.topic, 0 if task == "decide" else STATE.partition)
    layout, draft, producer = read_layout(log, STATE.topic), Draft(), log.producer()
    assert layout is not None
    reads = f"gatewatch.{'findings' if task == 'decide' else 'routed'}"
    snapshots.write_chunks(producer, place, task, document, arrays, draft)
    manifest = Manifest(
        task=task, id=draft.id, offset=offset, log_id=log.admin().describe([reads])[reads].id,
        layout=f"{layout.partitions}:{layout.seed_id}", schema=schema, versions=versions, digests=tuple(draft.digests),
        first=min(draft.offsets), raw_bytes=draft.raw_bytes, stored_bytes=draft.stored_bytes, written=1e9,
    )  # fmt: skip
    manifest = msgspec.structs.replace(manifest, **changes)
    snapshots.write_manifest(producer, place, manifest)


def test_what_an_upgrade_would_not_use_is_told_before_it(log: MemoryLog) -> None:
    """If this fails, a deployment reads a day of events again, and nobody knew before."""
    write(log, "detect-3", 43, {"rate_spike": VERSION_HERE + 1, "@traffic": 1}, b"book", {"a": np.zeros(1)})
    write(log, "decide", 44, {"decide": 1}, b"book", {"a": np.zeros(1)}, schema="1-old")
    done = CliRunner().invoke(app, ["state", "verify"])
    assert done.exit_code == 1
    decide, detect = done.stdout.splitlines()
    assert decide.startswith("decide: whole, and of another version of the state (1-old, not 1-")
    assert decide.endswith("findings is read from its beginning")
    others = f"rate_spike {VERSION_HERE + 1}, not {VERSION_HERE}, @traffic 1, not {PARTS['@traffic']}"
    assert f"whole, and of other versions ({others}): these begin empty" in detect


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"layout": "12:ab"}, "another layout (12:ab, not 4:"),
        ({"log_id": "x"}, "another topic routed, which was made"),
    ],
)
def test_a_snapshot_of_another_installation_is_told(log: MemoryLog, changes: dict[str, str], says: str) -> None:
    """If this fails, `verify` calls whole what every task will refuse."""
    write(log, "detect-3", 43, {"rate_spike": VERSION_HERE}, b"book", {"a": np.zeros(1)}, **changes)
    done = CliRunner().invoke(app, ["state", "verify"])
    assert done.exit_code == 1
    assert f"detect-3: whole, and of {says}" in done.stdout


def test_a_damaged_manifest_hides_no_other(log: MemoryLog, tmp_path: Path) -> None:
    """If this fails, one bad record of `state` and nobody can look at any snapshot any more."""
    log.producer().send(STATE.topic, b"{", partition=0, key=snapshots.manifest_key("decide"))
    listed = CliRunner().invoke(app, ["state", "list", "--json"])
    assert (listed.exit_code, [r["task"] for r in json.loads(listed.stdout)]) == (0, ["detect-3"])
    assert "gatewatch.state-0: a manifest cannot be read" in listed.stderr
    verified = CliRunner().invoke(app, ["state", "verify"])
    assert verified.exit_code == 1
    assert [line[:34] for line in verified.stdout.splitlines()] == [
        "decide: gatewatch.state-0: a manif",
        "detect-3: whole",
    ]
    out = str(tmp_path / "state.npz")
    assert CliRunner().invoke(app, ["state", "export", "detect-3", "--out", out]).exit_code == 0
    assert CliRunner().invoke(app, ["state", "export", "decide", "--out", out]).exit_code != 0


def test_a_damaged_chunk_is_named(log: MemoryLog) -> None:
    """If this fails, damage shows only at the restart that needs the snapshot."""
    [(_, manifest)] = snapshots.manifests(log, STATE.topic)
    key = snapshots.chunk_key("detect-3", manifest.id, 1)
    log.producer().send(STATE.topic, b"rubbish", partition=STATE.partition, key=key)
    done = CliRunner().invoke(app, ["state", "verify"])
    assert done.exit_code == 1
    assert "chunk 1 is damaged" in done.stdout


def test_every_topic_has_a_writer_and_gateways_may_write_sources_only() -> None:
    """If this fails, a role is refused by the broker, or a stolen gateway key may order blocks."""
    settings = Settings(sources=(Source(topic="access", format="native"),))
    roles = ("gateway", "ingest", "detect", "decide", "notify", "enforce")
    given = list(grants(settings, {role: f"User:{role}" for role in roles}))
    written = {name for g in given if "Write" in g.operations for name in g.names}
    assert written == {"access"} | {spec.name for spec in specs(settings)}
    assert [g.names for g in given if g.principal == "User:gateway"] == [("access",)]
    assert {g.principal for g in given if "gatewatch.decisions" in g.names and "Write" in g.operations} == {
        "User:decide"
    }
    assert "--resource-pattern-type prefixed" in next(g for g in given if g.kind == "group").command("b:1")
