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

from gatewatch.detect import reading, rollups, totals, traffic
from gatewatch.registry import Entry, load
from gatewatch.state.jit import is_compiled, mark_compiled

_SUMS = "@sums"  # no folder can have this name
_log = structlog.get_logger("gatewatch.detect")


def warm_up(entries: Mapping[str, Entry]) -> None:
    """Make every detector's kernels ready in this process, and those of sums and traffic."""
    cold = [name for name, entry in entries.items() if not all(map(is_compiled, entry.parts))]
    apart = [_SUMS] if not is_compiled(rollups.Rollups) else []
    apart += cold if len(cold) > 1 else []
    if apart and not multiprocessing.current_process().daemon:
        _log.info("compiling kernels for the first time", detectors=sorted(cold))
        _compile_apart(apart)
    for entry in entries.values():
        entry.warm_up()
        for part in entry.parts:
            mark_compiled(part)
    _warm_up_sums()


def _compile_apart(names: list[str]) -> None:
    """One process a core. What fails there is compiled here, a little later; who is interrupted takes them along.

    A compiler that has run keeps its memory: compiled here, the kernels of seven detectors cost 700 MB for good.
    """
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    try:
        with ProcessPoolExecutor(min(len(names), os.cpu_count() or 1), context) as pool:
            try:
                list(pool.map(_compile, names))
            except KeyboardInterrupt:  # leaving the pool would wait for what it is at, some of it for a minute
                for process in set(multiprocessing.active_children()) - others:
                    process.terminate()
                raise
    except (OSError, BrokenProcessPool) as error:  # no fork allowed, no memory
        _log.warning("kernels are compiled one after another", why=str(error))


def _compile(name: str) -> None:
    if name == _SUMS:
        _warm_up_sums()
    else:
        load(name).warm_up()


def _warm_up_sums() -> None:
    for module in (reading, traffic, rollups, totals):
        module.warm_up()
    mark_compiled(rollups.Rollups)
