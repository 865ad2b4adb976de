"""Run all evaluations and write docs/evaluation.md.

Usage: python evaluation/everything.py [--only nab,web] [--no-write]
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib
import os
import platform
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from figures import ROOT, Figure

from gatewatch import __version__
from gatewatch.registry import names

PAGE = ROOT / "docs" / "evaluation.md"
MODULES = (
    "openssh", "hub", "stratus", "web", "llm_traces", "payloads", "llmdrift", "kdd_http", "nab", "nb_stream",
    "first_contact", "distributed", "month", "jobs", "simulator", "unseen", "floods",
)  # fmt: skip
INTRO = """\
Every figure here is computed by `make evaluate`, from public data that stands beside the checkout (not ours to ship) or
from simulations, by one module a section under `evaluation/`. Beside each stand the best published figure and the
simplest rule that we could think of, computed in the same run: a figure that any rule reaches says little about a
detector. What was invented is named. What misses its target is named first.

`gatewatch evaluate` does the same with your own labelled events, `gatewatch suggest` says what thresholds cost on them.
"""


@dataclass(frozen=True, slots=True)
class Section:
    """One module's results, or why there are none."""

    module: str
    title: str
    on: str
    figures: Sequence[Figure]
    seconds: float
    failure: str = ""


def main() -> int:
    """Run what was asked for; 1 if a module failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(MODULES))
    parser.add_argument("--no-write", action="store_true")
    args = parser.parse_args()
    wanted = args.only.split(",")
    sections = [section_of(module) for module in wanted]
    if not args.no_write and tuple(wanted) == MODULES:
        PAGE.write_text(render(sections, dt.datetime.now(tz=dt.UTC), machine()), encoding="utf-8")
    return int(any(section.failure for section in sections))


def section_of(name: str) -> Section:
    """Run one module; what it raises is said on the page, the others go on."""
    module = importlib.import_module(name)
    began = time.perf_counter()
    figures: list[Figure] = []
    failure = ""
    try:
        figures = module.run()
    except Exception as error:  # noqa: BLE001 - one broken data set must not take the page with it
        failure = type(error).__name__
        traceback.print_exc()
    seconds = time.perf_counter() - began
    print(f"{name}: {len(figures)} figures in {seconds:.0f} s", flush=True)
    for figure in figures:
        print(f"  {verdict(figure):7} {figure.what}: {figure.value}", flush=True)
    return Section(name, module.TITLE, module.ON, figures, seconds, failure)


def render(sections: Sequence[Section], when: dt.datetime, on: str) -> str:
    """The page."""
    judged = [(s, f) for s in sections for f in s.figures if f.target]
    missed = [(s, f) for s, f in judged if not f.met]
    lines = [
        "# Evaluation",
        "",
        INTRO,
        f"Written by code on {when:%Y-%m-%d %H:%M} UTC, version {__version__}, {on}. Detectors: {', '.join(names())}.",
        "",
        f"{len(judged) - len(missed)} of {len(judged)} targets are met.",
        "",
        "## What is missed",
        "",
        *(f"- {_cell(s.title)}: {_cell(f.what)}: **{_cell(f.value)}**, target {_cell(f.target)}." for s, f in missed),
        *(["Nothing."] if not missed else []),
    ]
    for section in sections:
        lines += _section(section)
    return "\n".join([*lines, ""])


def _section(section: Section) -> list[str]:
    head = ["", f"## {section.title}", "", section.on, ""]
    run = f"`python evaluation/everything.py --only {section.module}`, {section.seconds:.0f} s."
    if section.failure:
        return [*head, f"**Did not run: {section.failure}.** {run}"]
    table = [
        "| what | measured | target | | best published | simplest rule | note |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {' | '.join(_cell(c) for c in (f.what, f.value, f.target, verdict(f), f.published, f.rule, f.note))} |"
            for f in section.figures
        ),
    ]
    return [*head, *table, "", run]


def verdict(figure: Figure) -> str:
    """In a word.

    >>> verdict(Figure("x", "1", target="1", met=True)), verdict(Figure("x", "1"))
    ('met', '')
    """
    if not figure.target:
        return ""
    return "open" if figure.met is None else "met" if figure.met else "missed"


def machine() -> str:
    """What this ran on."""
    model = platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    except OSError:
        pass
    return f"{os.cpu_count()} cores, {model}, Python {platform.python_version()}, {platform.system()}"


def _cell(text: str) -> str:
    """Text that a table of Markdown shows as it is: parts of it come from logs."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return shown.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_")


if __name__ == "__main__":
    sys.exit(main())
