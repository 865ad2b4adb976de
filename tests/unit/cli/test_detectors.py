"""``gatewatch detectors`` as a user runs it."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from gatewatch.cli import app
from gatewatch.registry import load, names


def _json(*args: str) -> object:
    result = CliRunner().invoke(app, ["detectors", *args, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_list_names_every_detector_and_its_folder() -> None:
    """An operator could not see that a folder of their own replaces a shipped detector."""
    listed = _json("list")
    assert isinstance(listed, list)
    assert [entry["name"] for entry in listed] == names()
    for entry in listed:
        assert entry["folder"].endswith(entry["name"])
        assert entry["version"] >= 1
        assert entry["scopes"]
        assert entry["reasons"]
    text = CliRunner().invoke(app, ["detectors", "list"]).output
    assert all(name in text for name in names())


@pytest.mark.parametrize("name", names())
def test_show_tells_what_a_detector_does_its_options_and_its_playbook(name: str) -> None:
    """An operator would have to read the source to learn what can be set, and what to do about an alert."""
    entry = load(name)
    shown = _json("show", name)
    assert isinstance(shown, dict)
    assert shown["playbook"] == entry.playbook
    assert shown["description"]
    assert shown["options"]
    text = " ".join(CliRunner().invoke(app, ["detectors", "show", name], terminal_width=200).output.split())
    for path in shown["options"]:
        assert path in text
    for reason in shown["reasons"]:
        assert reason in text


def test_options_can_be_written_into_the_settings_as_shown() -> None:
    """The paths and defaults that are shown would be refused by `gatewatch check`."""
    for name in names():
        shown = _json("show", name)
        assert isinstance(shown, dict)
        defaults = load(name).options(None)
        for path, value in shown["options"].items():
            found: object = defaults
            for part in path.split("."):
                found = getattr(found, part)
            assert json.loads(json.dumps(found, default=str)) == value


def test_an_unknown_detector_is_refused_with_those_that_exist() -> None:
    """A typo would be a traceback."""
    result = CliRunner().invoke(app, ["detectors", "show", "rate_spice"])
    assert result.exit_code == 2
    assert "no detector 'rate_spice'; there are:" in result.stderr
