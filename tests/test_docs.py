"""Words and code are equal: what the documentation names exists, and what exists is documented."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

import gatewatch.detectors
from gatewatch import errors, registry
from gatewatch.cli import COMMANDS, load
from gatewatch.errors import BadReason
from gatewatch.events import formats
from gatewatch.log.topics import specs
from gatewatch.metrics import SPECS, table
from gatewatch.settings import Settings, parse
from gatewatch.testing.detectors import LAWS, Law

ROOT = Path(__file__).resolve().parents[1]
DOCS = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md")
}
EVERYTHING = "\n".join(DOCS.values())
EXAMPLE = "bulk_download"  # the detector that docs/add-a-detector.md builds


# --- settings


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """Models that an annotation is about: of ``dict[str, Project]`` it is Project."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in typing.get_args(annotation) for model in models_in(part)]


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Every key of the settings file, with its default: ``projects.<name>.budget.false_alarms_per_day``."""
    for name, field in model.model_fields.items():
        inner = models_in(field.annotation)
        if not inner:
            yield prefix + name, field.get_default(call_default_factory=True)
            continue
        text = str(field.annotation)
        mark = ".<name>" if "dict[" in text else "[]" if "tuple[" in text else ""
        yield from keys(inner[0], f"{prefix}{name}{mark}.")


def documented_settings() -> dict[str, str]:
    """Key and default, as the table of docs/settings.md shows them."""
    rows = re.findall(r"^\| `([a-z][^`]*)` \| ([^|]*) \|", DOCS["docs/settings.md"], re.MULTILINE)
    return {key: default.strip() for key, default in rows}


def shown(default: object) -> str:
    """A default, as the table writes it."""
    if default is PydanticUndefined:
        return "required"
    if default is None or default == ():
        return "none"
    if isinstance(default, tuple):
        return ", ".join(f"`{part}`" for part in default)
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def test_every_setting_is_documented_and_no_other() -> None:
    """Otherwise a user cannot find a setting, or sets one that is long gone and is refused."""
    assert set(documented_settings()) == {key for key, _ in keys(Settings)}


def test_documented_defaults_are_the_defaults() -> None:
    """Otherwise a user leaves out a key because the page says that its default is right."""
    documented = documented_settings()
    wrong = {}
    for key, default in keys(Settings):
        told = documented[key]
        durations = (
            "ttl",
            "timeout",
            "batch_time",
            "align",
            "max_snooze",
            "max_expected",
            "max_silence",
            "every",
            "stale",
            "retry",
            "behind",
            "silence",
            "silence_max",
        )
        if key.endswith(durations) and isinstance(default, float):
            value = parse({"ttl": told.strip("`")}, models_in(registry.Defaults.model_fields["block"].annotation)[0])
            same = value.model_dump()["ttl"] == default
        else:
            same = told in {shown(default), "the private ranges" if "protected_networks" in key else ""}
        if not same:
            wrong[key] = (told, shown(default))
    assert wrong == {}


@pytest.mark.parametrize("name", sorted(DOCS))
def test_settings_in_examples_are_right(name: str) -> None:
    """Otherwise the first thing that a reader copies is refused."""
    for block in re.findall(r"^```yaml\n(.*?)^```", DOCS[name], re.MULTILINE | re.DOTALL):
        data = yaml.safe_load(block)
        if isinstance(data, dict) and set(data) & set(Settings.model_fields):
            if set(data) <= set(registry.Defaults.model_fields):
                parse(data, registry.Defaults)
            else:
                parse(data, Settings)


# --- names


def test_metrics_page_is_made_from_the_code() -> None:
    """Otherwise somebody builds a dashboard on a metric that is not there (`make docs` writes the page)."""
    assert DOCS["docs/metrics.md"] == table()


def test_metrics_that_are_named_exist() -> None:
    """Otherwise the operator waits for a metric that was renamed."""
    known = {spec.name for spec in SPECS}
    known |= {f"{spec.name}_{end}" for spec in SPECS if spec.kind == "histogram" for end in ("sum", "count", "bucket")}
    package = {f"gatewatch_{name}" for name in ("detectors",)}
    assert set(re.findall(r"\bgatewatch_[a-z_]+\b", EVERYTHING)) - package <= known


def test_every_topic_is_documented() -> None:
    """Otherwise an operator finds topics on the cluster that nobody explains."""
    page = DOCS["docs/architecture.md"]
    for spec in specs(Settings()):
        row = re.search(rf"^\| `<prefix>{re.escape(spec.name.removeprefix('gatewatch'))}` \|(.*)", page, re.MULTILINE)
        assert row is not None, spec.name
        shared = "`kafka.partitions`" if spec.partitions > 1 else str(spec.partitions)
        assert row[1].split("|")[0].strip() == shared, spec.name


@pytest.mark.parametrize("name", registry.names())
def test_every_detector_is_documented(name: str) -> None:
    """Otherwise a detector runs and alerts, and no page says what it is."""
    assert f"`{name}`" in DOCS["docs/tuning.md"]
    assert f"`{name}`" in DOCS["README.md"]


def test_every_format_is_documented() -> None:
    """Otherwise a user believes that their gateway is not supported, or that it is."""
    row = re.search(r"^\| `sources\[\]\.format` \|.*", DOCS["docs/settings.md"], re.MULTILINE)
    assert row is not None
    assert set(formats.names()) <= set(re.findall(r"`(\w+)`", row[0]))


def test_every_exception_is_documented() -> None:
    """Otherwise who reads an error's name in a log finds it nowhere."""
    for name, cls in inspect.getmembers(errors, inspect.isclass):
        if cls.__module__ == errors.__name__ and issubclass(cls, BaseException):
            assert f"`{name}`" in DOCS["docs/operations.md"], name


def test_every_reason_of_a_dead_letter_is_documented() -> None:
    """Otherwise `dead-letters list` shows a code that means nothing to its reader."""
    for reason in BadReason:
        assert f"`{reason.value}`" in DOCS["docs/operations.md"], reason


# --- commands


def commands(command: Any, path: str) -> Iterator[str]:
    """Every command below this one, as it is typed."""
    below = getattr(command, "commands", None)
    if below is None:
        yield path
        return
    for name, child in below.items():
        yield from commands(child, f"{path} {name}")


ALL_COMMANDS = {call for name in COMMANDS for call in commands(load(name), name)}


def called() -> set[tuple[str, str]]:
    """Every `gatewatch ...` of the documentation: where, and the words after it."""
    found = set()
    for name, text in DOCS.items():
        code = re.findall(r"`([^`\n]+)`", text) + re.findall(r"^(?: {4}|\$ )(.+)$", text, re.MULTILINE)
        code += [
            line
            for block in re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
            for line in block.splitlines()
        ]
        for line in code:
            if line.lstrip().startswith(("from ", "import ")):
                continue
            found |= {
                (name, words) for words in re.findall(r"(?:^|\s)gatewatch ([a-z][a-z-]*(?: [a-z][a-z-]*)?)", line)
            }
    return found


def test_commands_that_are_named_exist() -> None:
    """Otherwise a reader types what the page says and gets a usage error."""
    known = {words for call in ALL_COMMANDS for words in (call, call.split()[0])}
    groups = {call.split()[0] for call in ALL_COMMANDS if " " in call}
    wrong = set()
    for name, words in called():
        first = words.split()[0]
        if first not in known or (first in groups and " " in words and words not in known):
            wrong.add((name, words))
    assert wrong == set()


@pytest.mark.parametrize("call", sorted(ALL_COMMANDS))
def test_every_command_and_option_is_documented(call: str) -> None:
    """Otherwise a command or an option is found only by those who know it, or one is looked for that has gone."""
    command = load(call.split(maxsplit=1)[0])
    for name in call.split()[1:]:
        command = command.commands[name]
    options = {o for p in command.params for o in p.opts if o.startswith("--") and o != "--help"}
    row = re.search(
        rf"^\| `gatewatch {re.escape(call)}(?: [^`]*)?` \|(.*)\|(.*)\|$", DOCS["docs/commands.md"], re.MULTILINE
    )
    assert row is not None, call
    assert set(re.findall(r"`(--[a-z-]+)", row[2])) == options


def test_targets_of_make_that_are_named_exist() -> None:
    """Otherwise the first line that a contributor types fails."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z]+)`", EVERYTHING)) | set(
        re.findall(r"^ {4}make ([a-z]+)", EVERYTHING, re.MULTILINE)
    )
    assert named
    assert named <= targets


def test_the_readme_shows_the_two_commands() -> None:
    """Otherwise a newcomer does not know how to see it work, nor a contributor how to test it."""
    assert "make demo" in DOCS["README.md"]
    assert "make test" in DOCS["README.md"]


# --- links and files


@pytest.mark.parametrize("name", sorted(DOCS))
def test_links_lead_somewhere(name: str) -> None:
    """Otherwise a reader is sent to a page that is not there."""
    for target in re.findall(r"\]\(([^)\s]+)\)", DOCS[name]):
        if re.match(r"https?://|mailto:", target):
            continue
        file, _, anchor = target.partition("#")
        path = (ROOT / name).parent / file if file else ROOT / name
        assert path.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}, target


def test_files_that_are_named_exist() -> None:
    """Otherwise a page points at code that has moved."""
    for file in re.findall(r"`((?:src|docs|tests|deploy|benchmarks|notebooks|detectors)/[\w./-]+\.\w+)`", EVERYTHING):
        assert (ROOT / file).exists(), file


def test_no_page_carries_a_path_of_somebodys_machine() -> None:
    """Otherwise instructions work on one machine only."""
    assert re.findall(r"/(?:root|home/\w+|work|Users)/\S*", EVERYTHING) == []


# --- the walk-through


def written_files(text: str) -> Iterator[tuple[str, str]]:
    """Name and content of each file of a page: a heading or a line that is only its name, then the first block."""
    heading: str | None = None
    block: list[str] | None = None
    for line in text.splitlines(keepends=True):
        if block is not None:
            if line.startswith("```"):
                yield str(heading), "".join(block)
                heading, block = None, None
            else:
                block.append(line)
        elif named := re.fullmatch(r"(?:## )?`([\w.-]+\.\w+)`:?\n", line):
            heading = named[1]
        elif heading is not None and line.startswith("```"):
            block = []


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The files of docs/add-a-detector.md, in a folder on the search path."""
    root = tmp_path_factory.mktemp("detectors")
    for heading, block in written_files(DOCS["docs/add-a-detector.md"]):
        below = "cases/" if heading.startswith(("attack-", "benign-")) else ""
        path = root / EXAMPLE / below / heading
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block, encoding="utf-8")
    before = list(gatewatch.detectors.__path__)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GATEWATCH_DETECTORS_PATH", str(root))
        gatewatch.detectors.__path__ = [str(root), *before]
        yield root
    gatewatch.detectors.__path__ = before


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_the_example_keeps_the_contract(law: Law, walked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise whoever follows the walk-through ends with a detector that the contract refuses."""
    monkeypatch.setenv("GATEWATCH_DETECTORS_PATH", str(walked))
    law(registry.load(EXAMPLE))


def test_the_example_is_written_down_whole(walked: Path) -> None:
    """Otherwise the tests above would test less than the page shows."""
    files = {
        path.relative_to(walked / EXAMPLE).as_posix() for path in (walked / EXAMPLE).rglob("*.*") if path.is_file()
    }
    assert {"__init__.py", "kernel.py", "detector.py", "defaults.yaml", "PLAYBOOK.md"} <= files
    assert len([name for name in files if name.startswith("cases/")]) == 8
