"""The long form: ``python -m tests.fuzz --inputs 1000000 --seed 1``, or ``make fuzz``.

Prints a table of what was fed, and ends with 1 at the first thing that does not hold, with the target and the seed of
its round: ``--only NAME --round SEED`` feeds that one round again.
"""

from __future__ import annotations

import argparse
import ctypes
import faulthandler
import gc
import os
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path
from random import Random

from tests.fuzz.target import Target
from tests.fuzz.targets import makers

HANG_S = 600.0  # a round that takes longer hangs (the first may compile kernels): every traceback, and the end
FORMAT_SHARE = 8  # a format gets so many times the inputs of a whole flow, which is as many times slower
# What is held at the end of a target beyond what was held after its first round. The tables of all detectors fill: some
# 300 MB where a flow or a decider lives through a run. A target that makes new tasks all the time must hold nothing.
HELD_KIB = 512 * 1024
MOST_KIB = 1024 * 1024  # and at any moment: two tasks at once, and what a round itself needs


def main() -> int:
    """Feed every target its share."""
    parser = argparse.ArgumentParser(description="Hostile input for everything that reads what others wrote.")
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="targets whose name contains this")
    parser.add_argument("--round", help="feed this one round only: what a failure printed")
    options = parser.parse_args()
    os.environ.setdefault("FUZZ_TOKEN", "secret-one")
    makers_ = {name: make for name, make in makers().items() if options.only in name}
    if options.round is not None:
        next(iter(makers_.values()))().round(Random(options.round))
        return 0
    failed = False
    total = 0
    _say(f"{'target':28} {'inputs':>9} {'seconds':>8} {'a second':>9} {'held, MiB':>10} {'most, MiB':>10}")
    shares = {name: FORMAT_SHARE if name.startswith("format") else 1 for name in makers_}
    for name, make in makers_.items():
        target = make()
        wanted = options.inputs * shares[name] // sum(shares.values())
        began = time.monotonic()
        feed(target, 1, options.seed + 1)  # whatever it fills once
        held, most = _held_kib(), _most_kib()
        fed, failure = feed(target, wanted, options.seed)
        took = time.monotonic() - began
        held, most = _held_kib() - held, _most_kib() - most
        del target  # before the next is made
        _say(f"{name:28} {fed:9,} {took:8.1f} {fed / max(took, 1e-9):9,.0f} {held / 1024:10.1f} {most / 1024:10.1f}")
        total += fed
        if failure is not None or held > HELD_KIB or most > MOST_KIB:
            failed = True
            _say(f"  {failure or 'memory grows without bound'}")
    _say(f"{'all':28} {total:9,}   seed {options.seed}, most memory {_most_kib() / 1024:.0f} MiB")
    return 1 if failed else 0


def feed(target: Target, wanted: int, seed: int) -> tuple[int, str | None]:
    """Rounds of one target until it had so many inputs, or failed: how many it had, and which round failed and why."""
    fed = number = 0
    while fed < wanted:
        name = f"{seed}-{target.name}-{number}"
        faulthandler.dump_traceback_later(HANG_S, exit=True)
        try:
            fed += target.round(Random(name))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what we look for
            return fed, f"--only {target.name!r} --round {name!r}: {type(error).__name__}: {str(error)[:500]}"
        finally:
            faulthandler.cancel_dump_traceback_later()
        number += 1
    return fed, None


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _held_kib() -> int:
    """What this process holds now. What was freed and stays with the allocator does not count: it can be 300 MB."""
    gc.collect()
    with suppress(AttributeError, OSError):  # glibc alone keeps it, and has a way to give it back
        ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize() // 1024


def _most_kib() -> int:
    """The most that this process has had in memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    sys.exit(main())
