"""What the recipes of ``deploy/gateways`` say of blind spots is made from the code.

``python -m gatewatch.testing.recipes`` writes the part of each README below its mark; a test holds it there.
"""

from __future__ import annotations

from pathlib import Path

from gatewatch.cli.check import blind
from gatewatch.events import formats
from gatewatch.events.event import AccessEvent
from gatewatch.events.formats.cloudevents import INFERENCE_FIELDS
from gatewatch.registry import load_all
from gatewatch.settings import load

MARK = "<!-- blind -->"
_LESS = {"kserve": INFERENCE_FIELDS}  # recipes whose gateway fills less than the format can
_ROOT = Path(__file__).resolve().parents[3] / "deploy" / "gateways"
# Fields that no gateway is asked for: ingest fills them, or a detector's answer does not hang on them.
_NOT_ASKED = {"asn", "country", "ja4", "blocked_by_us", "model_version"}


def folders() -> list[Path]:
    """One folder a gateway."""
    return sorted(path.parent for path in _ROOT.glob("*/gatewatch.yaml"))


def blind_part(folder: Path) -> str:
    """Which fields the first source of a recipe lacks, and which detectors are blind then."""
    source = load(folder / "gatewatch.yaml").sources[0]
    fields = _LESS.get(folder.name) or formats.get(source.format, source=source).fields
    lacks = [name for name in AccessEvent.__struct_fields__ if name not in fields and name not in _NOT_ASKED]
    lines = ["## What it cannot see", "", f"Lacks: {', '.join(f'`{name}`' for name in lacks) or 'nothing'}."]
    found = blind(fields, load_all())
    if found:
        lines += ["", "| detector | blind on | without | cure |", "|---|---|---|---|"]
        lines += [
            f"| {b.detector} | {b.scope.value} | {' or '.join(f'`{f}`' for f in b.fields)} | {b.how or '-'} |"
            for b in found
        ]
    else:
        lines[-1] += " No detector is blind."
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the parts again."""
    for folder in folders():
        readme = folder / "README.md"
        head = readme.read_text(encoding="utf-8").partition(MARK)[0]
        readme.write_text(f"{head}{MARK}\n{blind_part(folder)}", encoding="utf-8")


if __name__ == "__main__":
    main()
