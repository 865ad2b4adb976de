"""What every file of a detector folder must hold: the part of the contract that needs no traffic."""

from __future__ import annotations

import ast
import re
import sys

from gatewatch.registry import Entry
from gatewatch.sdk.findings import DETAIL

# What a detector folder may import besides itself and the standard library (DESIGN section 4)
_IMPORTS = {"gatewatch.sdk", "gatewatch.adapters", "numpy", "numpy.typing", "pydantic"}
_TAG = {
    "attack": re.compile(r"T\d{4}(\.\d{3})?"),
    "atlas": re.compile(r"AML\.T\d{4}(\.\d{3})?"),
    "owasp": re.compile(r"OAT-\d{3}|LLM\d{2}:2025|API\d{1,2}:2023"),
}


def names_agree(entry: Entry) -> None:
    """The folder's name is the detector's name; its version counts from 1; it has scopes and says what each needs."""
    for part in entry.parts:
        assert part.name == entry.name, f"{part.name=} in folder {entry.name}"
        assert part.version >= 1
        assert part.scopes, "a detector without scopes"
        needed = {need.scope for need in part.needs}
        assert needed == set(part.scopes), f"`needs` must name every scope: {needed}"
        assert all(need.fields and need.how for need in part.needs), "each Need has fields, and how to get them"


def imports_only_the_sdk(entry: Entry) -> None:
    """A folder imports the sdk, the adapters, numpy, pydantic, the standard library and itself: it outlives changes."""
    for file in entry.folder.iterdir():
        if not file.name.endswith(".py"):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            else:
                continue
            for name in names:
                allowed = name in _IMPORTS or name.split(".")[0] in sys.stdlib_module_names
                assert allowed, f"{file.name}:{node.lineno} imports {name}"


def docstring_says_what_it_misses(entry: Entry) -> None:
    """Whoever relies on a detector must learn from its docstring what it does not see, and what it costs."""
    text = entry.doc.lower()
    for word in ("sees", "misses", "options", "cost", "memory"):
        assert word in text, f"the docstring says nothing on {word!r}"


def reasons_are_complete(entry: Entry) -> None:
    """Each reason has a code of its own, a name, a title, a unit, and room for its numbers."""
    reasons = entry.reasons
    for attribute in ("code", "name", "title"):
        values = [getattr(reason, attribute) for reason in reasons]
        assert len(set(values)) == len(values), f"two reasons share a {attribute}: {values}"
    for reason in reasons:
        assert reason.title, f"{reason.name} has no title"
        assert reason.unit, f"{reason.name} has no unit"
        assert len(reason.columns) <= DETAIL, f"{reason.name} has more than {DETAIL} columns"


def tags_are_known(entry: Entry) -> None:
    """Each reason is tagged (its own tags or the folder's), in the ids of ATT&CK, ATLAS and OWASP; no tag is stray."""
    known = {reason.name for reason in entry.reasons}
    tagged = set(entry.defaults.reason_tags)
    assert tagged <= known, f"reason_tags of no reason: {tagged - known}"
    assert entry.defaults.tags or tagged == known, f"reasons without tags: {known - tagged}"
    for tags in (entry.defaults.tags, *entry.defaults.reason_tags.values()):
        for taxonomy, ids in tags.items():
            assert taxonomy in _TAG, f"unknown taxonomy {taxonomy!r}"
            for tag in ids:
                assert _TAG[taxonomy].fullmatch(tag), f"{tag!r} is no id of {taxonomy}"


def defaults_parse(entry: Entry) -> None:
    """``defaults.yaml`` holds every option with its value: it is where people look."""
    config = entry.options(None)
    missing = set(type(config).model_fields) - set(entry.defaults.options)
    assert not missing, f"defaults.yaml does not mention {sorted(missing)}"


def playbook_has_steps(entry: Entry) -> None:
    """The playbook says who acts, who approves a block, and has at least three numbered steps that name a field."""
    steps = re.findall(r"^\d+\. .+(?:\n(?!\d+\. |\n).*)*", entry.playbook, re.MULTILINE)
    assert len(steps) >= 3, f"PLAYBOOK.md has {len(steps)} numbered steps"
    assert all("`" in step for step in steps), "each step names the field it reads, in backticks"
    for words in ("who acts", "who approves"):
        assert words in entry.playbook.lower(), f"PLAYBOOK.md does not say {words}"


FOLDER_LAWS = (
    names_agree,
    imports_only_the_sdk,
    docstring_says_what_it_misses,
    reasons_are_complete,
    tags_are_known,
    defaults_parse,
    playbook_has_steps,
)
