"""Run all benchmarks and write benchmarks/RESULTS.md.

Usage: python benchmarks/run.py [--only detect,populations,rounds,replay,ingest,latency] [--no-write]
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
from pathlib import Path

import decode
import detect
import ingest
import latency
import populations
import replay
import rounds
from common import Figure, Results, machine

from gatewatch.testing.kafka import running_broker

HERE = Path(__file__).parent


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="detect,populations,rounds,replay,ingest,latency")
    parser.add_argument("--no-write", action="store_true")
    args = parser.parse_args()
    wanted = set(args.only.split(","))
    results = Results()
    if "detect" in wanted:
        detect.run(results)
        decode.run(results)
    if "populations" in wanted:
        populations.run(results)
    if "rounds" in wanted:
        rounds.run(results)
    if "replay" in wanted:
        replay.run(results)
    if wanted & {"ingest", "latency"}:
        with running_broker() as broker:
            if "ingest" in wanted:
                ingest.run(results, broker.bootstrap)
            if "latency" in wanted:
                latency.run(results, broker.bootstrap)
    if not args.no_write:
        (HERE / "RESULTS.md").write_text(render(results), encoding="utf-8")


def render(results: Results) -> str:
    """The table, with the machine."""
    lines = [
        "# Benchmark results",
        "",
        f"{dt.datetime.now(tz=dt.UTC):%Y-%m-%d}, {machine()}. Written by `make bench` on a shared machine: the ratios",
        "say more than the figures. Rates are per CPU second of the process; latencies are by the clock.",
        f"Load of the machine when it ended: {os.getloadavg()[0]:.1f}.",
        "",
        "Limit: confluent-kafka and msgspec decode, nothing else. Lean: kafka-python (or none), msgspec and",
        "dictionaries of counters, as one would write it by hand. Both in the same run.",
        "",
        "| what | median | min - max | target | of the limit | of the lean loop | note |",
        "|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *(_row(f) for f in results.figures), ""])


def _row(f: Figure) -> str:
    spread = f"{f.spread[0]:,.0f} - {f.spread[1]:,.0f}" if f.spread[1] else ""
    target = f"{f.target:,.0f}" if f.target else ""
    limit = f"{f.value / f.limit:.2f}" if f.limit else ""
    lean = f"{f.value / f.lean:.2f}" if f.lean else ""
    return f"| {f.name} | {f.value:,.0f} {f.unit} | {spread} | {target} | {limit} | {lean} | {f.note} |"


if __name__ == "__main__":
    main()
