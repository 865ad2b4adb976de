"""``gatewatch state``: the snapshots of detect's tasks and of decide: list them, check them, take one out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from gatewatch.cli import screen
from gatewatch.cli.options import Config, Json
from gatewatch.cli.own import NOTHING, nothing, own_log, print_json, shown, when
from gatewatch.decide import memory
from gatewatch.errors import StateError
from gatewatch.events.batch import VERSION
from gatewatch.log.base import Log, TopicPartition
from gatewatch.registry import load_all
from gatewatch.state import snapshots
from gatewatch.state.snapshots import Manifest

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, help="List, check and export the snapshots of tasks."
)


@app.command(name="list")
def list_(config: Config = None, as_json: Json = False) -> None:
    """The newest snapshot of each task."""
    with own_log(config) as (settings, log):
        rows = [_row(manifest) for _, manifest in snapshots.manifests(log, settings.kafka.topic("state"))]
    if as_json:
        print_json(rows)
        return
    heads = ("task", "offset", "written (UTC)", "chunks", "MB stored", "MB", "versions")
    on = screen.console()
    on.print(screen.listing(heads, (_cells(r) for r in rows), on))


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    names = ", ".join(f"{name} {version}" for name, version in row["versions"].items())
    sizes = (f"{row['stored_bytes'] / 1e6:.1f}", f"{row['raw_bytes'] / 1e6:.1f}")
    return (
        shown(row["task"]), str(row["offset"]), when(row["written"]), str(row["chunks"]), *sizes, shown(names, 500)
    )  # fmt: skip


@app.command()
def verify(config: Config = None, as_json: Json = False) -> None:
    """Read every snapshot whole and check it. Exit code 1 if one is damaged, or this version would not use it.

    Run it with a new version before you deploy that.
    """
    with own_log(config) as (settings, log):
        rows = list(_verified(log, settings.kafka.topic("state")))
    if as_json:
        print_json(rows)
    else:
        for r in rows:
            typer.echo(f"{shown(r['task'])}: {shown(r['problem'] or r['refused'] or 'whole', 500)}")
    if any(r["problem"] or r["refused"] for r in rows):
        raise typer.Exit(NOTHING)


@app.command()
def export(
    task: Annotated[str, typer.Argument(help="As `gatewatch state list` names it: detect-3.")],
    out: Annotated[Path, typer.Option("--out", help="File to write: numpy's .npz; of decide, JSON.")],
    config: Config = None,
) -> None:
    """Write what one task's newest snapshot holds to a file, to look at it in a notebook."""
    with own_log(config) as (settings, log):
        topic = settings.kafka.topic("state")
        found = {m.task: (p, m) for p, m in snapshots.manifests(log, topic)}
        if task not in found:
            raise nothing(f"no snapshot of {task!r}; there are: {', '.join(sorted(found)) or 'none'}")
        partition, manifest = found[task]
        document, arrays = snapshots.read(log, TopicPartition(topic, partition), manifest)
    if task == memory.TASK:
        out.write_bytes(memory.Memory.read(document, arrays).readable())
        typer.echo(f"what decide knew at offset {manifest.offset} in {out}")
        return
    plain: dict[str, Any] = {name.replace("/", "."): array for name, array in arrays.items()}
    with out.open("wb") as file:
        np.savez_compressed(file, **plain)
    typer.echo(f"{len(plain)} arrays as of offset {manifest.offset} in {out}")


def _row(manifest: Manifest) -> dict[str, Any]:
    return {
        "task": manifest.task,
        "id": manifest.id,
        "offset": manifest.offset,
        "written": manifest.written,
        "chunks": len(manifest.digests),
        "stored_bytes": manifest.stored_bytes,
        "raw_bytes": manifest.raw_bytes,
        "layout": manifest.layout,
        "schema": manifest.schema,
        "versions": manifest.versions,
    }


def _verified(log: Log, topic: str) -> Iterator[dict[str, Any]]:
    here = {name: entry.version for name, entry in load_all().items()}
    for partition, manifest in list(snapshots.manifests(log, topic)):
        problem: str | None = None
        try:
            snapshots.read(log, TopicPartition(topic, partition), manifest)
        except StateError as error:
            problem = str(error)
        yield {"task": manifest.task, "id": manifest.id, "problem": problem, "refused": _refused(manifest, here)}


def _refused(manifest: Manifest, here: Mapping[str, int]) -> str | None:
    """Why this version would not go on from a snapshot, or not with all of it, and what it does instead."""
    schema, read = (memory.KIND.schema, "findings") if manifest.task == memory.TASK else (VERSION.decode(), "routed")
    if manifest.schema != schema:
        other = f"{manifest.schema}, not {schema}"
        return f"whole, and of another version of the state ({other}): {read} is read from its beginning"
    others = [f"{name} {n}, not {here[name]}" for name, n in manifest.versions.items() if here.get(name, n) != n]
    if others:
        return f"whole, and of other detectors ({', '.join(others)}): these begin empty, and read {read} anew"
    return None
