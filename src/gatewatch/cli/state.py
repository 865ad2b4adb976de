"""``gatewatch state``: the snapshots of detect's tasks and of decide: list them, check them, take one out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from gatewatch.cli import screen
from gatewatch.cli.errors import printable
from gatewatch.cli.options import Config, Json
from gatewatch.cli.own import NOTHING, nothing, own_log, print_json, shown, when
from gatewatch.decide import memory
from gatewatch.detect.population import PARTS as OF_POPULATIONS
from gatewatch.detect.task import PARTS as OF_TASKS
from gatewatch.errors import StateError
from gatewatch.events.batch import VERSION
from gatewatch.log.base import Log
from gatewatch.registry import load_all
from gatewatch.settings import Settings
from gatewatch.state import snapshots
from gatewatch.state.layout import read_layout
from gatewatch.state.snapshots import Manifest

_READ = ("routed", "rollups", "findings")  # what tasks read
app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, help="List, check and export the snapshots of tasks."
)


@app.command(name="list")
def list_(config: Config = None, as_json: Json = False) -> None:
    """The newest snapshot of each task."""
    with own_log(config) as (settings, log):
        newest = list(snapshots.newest(log, settings.kafka.topic("state")))
    rows = [_row(manifest) for _, _, manifest in newest if isinstance(manifest, Manifest)]
    for error in (error for _, _, error in newest if isinstance(error, StateError)):
        typer.echo(f"error: {printable(str(error))}", err=True)
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
        rows = list(_verified(log, settings))
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
        found = {name: (tp, manifest) for tp, name, manifest in snapshots.newest(log, topic)}
        if task not in found:
            raise nothing(f"no snapshot of {task!r}; there are: {', '.join(sorted(found)) or 'none'}")
        tp, manifest = found[task]
        if isinstance(manifest, StateError):
            raise manifest
        document, arrays = snapshots.read(log, tp, manifest)
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


@dataclass(frozen=True, slots=True)
class _Here:
    """What a snapshot must be of, to be used by this version in this installation."""

    versions: Mapping[str, int]  # of detectors, and of what tasks know beside them
    layout: str | None
    ids: Mapping[str, str]  # of the topics that tasks read

    @classmethod
    def of(cls, log: Log, settings: Settings) -> _Here:
        layout, topics = read_layout(log, settings.kafka.topic("state")), {t: settings.kafka.topic(t) for t in _READ}
        with closing(log.admin()) as admin:
            found = admin.describe(list(topics.values()))
        return cls(
            {name: entry.version for name, entry in load_all().items()} | OF_TASKS | OF_POPULATIONS,
            None if layout is None else f"{layout.partitions}:{layout.seed_id}",
            {name: found[topic].id for name, topic in topics.items() if topic in found},
        )

    def refuses(self, manifest: Manifest) -> str | None:
        """Why a task would not go on from a snapshot, or not with all of it, and what it does instead."""
        decides = manifest.task == memory.TASK
        read = "findings" if decides else "rollups" if manifest.task == "population" else "routed"
        schema = memory.KIND.schema if decides else VERSION.decode()
        from_its_beginning = f"{read} is read from its beginning"
        if manifest.schema != schema:
            return f"whole, and of another version of the state ({manifest.schema}, not {schema}): {from_its_beginning}"
        if self.layout not in {manifest.layout, None}:
            return f"whole, and of another layout ({manifest.layout}, not {self.layout}): {from_its_beginning}"
        if self.ids.get(read, manifest.log_id) != manifest.log_id:
            return f"whole, and of another topic {read}, which was made again since: {from_its_beginning}"
        here = self.versions
        others = [f"{name} {n}, not {here[name]}" for name, n in manifest.versions.items() if here.get(name, n) != n]
        if others:
            return f"whole, and of other versions ({', '.join(others)}): these begin empty, and read {read} anew"
        return None


def _verified(log: Log, settings: Settings) -> Iterator[dict[str, Any]]:
    here = _Here.of(log, settings)
    for tp, task, manifest in list(snapshots.newest(log, settings.kafka.topic("state"))):
        if isinstance(manifest, StateError):
            yield {"task": task, "id": None, "problem": str(manifest), "refused": None}
            continue
        problem: str | None = None
        try:
            snapshots.read(log, tp, manifest)
        except StateError as error:
            problem = str(error)
        yield {"task": task, "id": manifest.id, "problem": problem, "refused": here.refuses(manifest)}
