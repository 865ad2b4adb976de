"""Kernels are compiled before a worker joins its group: side by side, and only where the disk cache does not hold them.

A cold start compiles for tens of seconds, each detector on its own; so each gets a process, one a core. What they
compile is in the cache on disk (:mod:`gatewatch.state.jit`), from which this process then loads it.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import structlog

from gatewatch.detect import rollups, totals, traffic
from gatewatch.registry import Entry, load
from gatewatch.state.jit import is_compiled, mark_compiled

_log = structlog.get_logger("gatewatch.detect")


def warm_up(entries: Mapping[str, Entry]) -> None:
    """Make every detector's kernels ready in this process."""
    cold = [name for name, entry in entries.items() if not all(map(is_compiled, entry.parts))]
    if len(cold) > 1 and not multiprocessing.current_process().daemon:
        _log.info("compiling kernels for the first time", detectors=sorted(cold))
        _compile_apart(cold)
    for entry in entries.values():
        entry.warm_up()
        for part in entry.parts:
            mark_compiled(part)
    traffic.warm_up()
    if any(entry.population is not None for entry in entries.values()):
        rollups.warm_up()
        totals.warm_up()


def _compile_apart(names: list[str]) -> None:
    """One process a core. What fails there is compiled here, a little later."""
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(min(len(names), os.cpu_count() or 1), context) as pool:
            list(pool.map(_compile, names))
    except (OSError, BrokenProcessPool) as error:  # no fork allowed, no memory
        _log.warning("kernels are compiled one after another", why=str(error))


def _compile(name: str) -> None:
    load(name).warm_up()
