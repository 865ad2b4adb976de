"""The frame of the command: what every command shares."""

from __future__ import annotations

import errno
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from gatewatch import __version__
from gatewatch.cli import COMMANDS, app, leaves, load
from gatewatch.cli.errors import reported
from gatewatch.cli.examples import EXAMPLES
from gatewatch.cli.options import duration, moment
from gatewatch.errors import ConfigError

_HEAVY = ("numba", "kafka", "pyarrow", "river", "pandas", "numpy", "pydantic", "httpx", "slack_sdk")


def _run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *args], capture_output=True, text=True, timeout=240, check=False)


def test_help_lists_every_command() -> None:
    """A newcomer would not find a command."""
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    for name in COMMANDS:
        assert name in result.output


def test_help_imports_nothing_heavy() -> None:
    """`gatewatch --help` would take seconds: numba alone takes more than one."""
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from gatewatch.cli import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        f"print([name for name in {_HEAVY!r} if name in sys.modules])\n"
    )
    result = _run("-c", code)
    assert (result.returncode, result.stdout.strip()) == (0, "[]"), result.stderr


@pytest.mark.parametrize(
    "name",
    [
        "alerts",
        "incidents",
        "decisions",
        "verdicts",
        "silences",
        "audit",
        "dead-letters",
        "simulate",
        "ship",
        "replay",
        "evaluate",
    ],
)
def test_commands_start_without_numba(name: str) -> None:
    """Looking one alert up at night, or asking for help, would take seconds, of which numba takes more than one."""
    code = f"import sys\nfrom gatewatch.cli import load\nload({name!r})\nprint('numba' in sys.modules)\n"
    result = _run("-c", code)
    assert (result.returncode, result.stdout.strip()) == (0, "False"), result.stderr


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_is_there_and_explains_itself(name: str) -> None:
    """A name in the list would end in an import error, or say one thing in the list and another in its own help."""
    command = load(name)
    assert command.name == name
    assert command.help.startswith(COMMANDS[name][1])
    result = CliRunner().invoke(app, [name, "--help"])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_shows_an_example_that_it_takes(name: str) -> None:
    """A newcomer would copy a line that ends in a usage error, or has none to copy."""
    for path, leaf in leaves(load(name)):
        words = [w for w in shlex.split(EXAMPLES[path]) if "=" not in w or w.startswith("-")]
        assert words[: 1 + len(path.split())] == ["gatewatch", *path.split()]
        leaf.make_context(path, words[1 + len(path.split()) :])  # parses, and runs nothing
        assert f"Example: {EXAMPLES[path]}" in leaf.epilog


def test_no_example_is_of_a_command_that_is_gone() -> None:
    """The table would keep lines that nobody can run."""
    assert set(EXAMPLES) == {path for name in COMMANDS for path, _leaf in leaves(load(name))}


def test_version_is_printed() -> None:
    """A bug report could not say what it is about."""
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.output.strip()) == (0, f"gatewatch {__version__}")


def test_an_unknown_command_is_a_usage_error() -> None:
    """A typo would end in a traceback, or in silence and exit code 0."""
    result = CliRunner().invoke(app, ["alrets"])
    assert result.exit_code == 2
    assert "No such command" in result.output


def test_an_error_of_ours_is_one_line_and_exit_2(tmp_path: Path) -> None:
    """An operator would get a traceback instead of the key that is wrong."""
    config = tmp_path / "gatewatch.yaml"
    config.write_text("kafak: {}\n")
    result = _run("-m", "gatewatch", "check", "--config", str(config))
    assert result.returncode == 2
    assert result.stderr == f"error: {config} line 1: kafak: unknown key: did you mean 'kafka'?\n"


def test_debug_shows_where_an_error_comes_from(tmp_path: Path) -> None:
    """Nobody could find out why a command says what it says."""
    config = tmp_path / "gatewatch.yaml"
    config.write_text("kafak: {}\n")
    result = _run("-m", "gatewatch", "--debug", "check", "--config", str(config))
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert "ConfigError" in result.stderr


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    """A wrong path would end in a traceback."""
    result = _run("-m", "gatewatch", "check", "--config", str(tmp_path / "none.yaml"))
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


def test_ctrl_c_ends_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    """A shell script could not tell an interrupted command from one that failed."""

    def interrupted() -> None:
        with reported(debug=False):
            raise KeyboardInterrupt

    with pytest.raises(typer.Exit) as caught:
        interrupted()
    assert caught.value.exit_code == 130
    assert capsys.readouterr().err == "stopped\n"


def test_a_bug_keeps_its_traceback() -> None:
    """A bug of ours would look like a mistake of the user's."""

    def buggy() -> None:
        with reported(debug=False):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        buggy()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_a_full_or_closed_disk_is_one_line(code: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Who runs out of space in the middle of a replay would read fifty lines of our code."""
    with pytest.raises(typer.Exit) as caught, reported(debug=False):
        raise OSError(code, os.strerror(code))
    assert caught.value.exit_code == 2
    assert capsys.readouterr().err == f"error: a file that is being written or read: {os.strerror(code)}\n"


def test_what_a_stranger_wrote_cannot_drive_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """An escape sequence in a file name or a key would clear the screen, or forge a line of output."""

    def failing() -> None:
        with reported(debug=False):
            raise ConfigError("", "bad \x1b[2J\nerror: forged")

    with pytest.raises(typer.Exit):
        failing()
    text = capsys.readouterr().err
    assert "\x1b[2J" not in text
    assert text.count("\n") == 1


@pytest.mark.parametrize(("text", "expected"), [("90", 90.0), ("10m", 600.0), ("8h", 28800.0), ("1.5d", 129600.0)])
def test_durations_are_read(text: str, expected: float) -> None:
    """`--duration 8h` would be refused or mean something else."""
    assert duration(text) == expected


@pytest.mark.parametrize("text", ["soon", "5 parsecs", ""])
def test_a_duration_without_sense_is_a_usage_error(text: str) -> None:
    """A typo would be a traceback."""
    with pytest.raises(typer.BadParameter, match="no duration"):
        duration(text)


def test_a_moment_without_a_zone_is_utc() -> None:
    """The same command would give other events on a machine in another time zone."""
    assert moment("2026-03-03T06:00") == moment("2026-03-03T07:00+01:00") == 1772517600.0
    with pytest.raises(typer.BadParameter, match="no ISO date"):
        moment("yesterday")
