"""Errors: the tree that the documentation draws, and texts that say where."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

from gatewatch import errors
from gatewatch.errors import BadReason, ConfigError, DecodeError, GatewatchError

CLASSES = {
    name: cls
    for name, cls in inspect.getmembers(errors, inspect.isclass)
    if issubclass(cls, BaseException) and cls.__module__ == errors.__name__
}


def drawn() -> dict[str, str | None]:
    """Each error of the drawing, with the one that it hangs on."""
    parents: dict[str, str | None] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^( {4}[ |`-]*)(\w+Error)\b", line)
        if match is None:
            continue
        depth, name = len(match[1]), match[2]
        while above and above[-1][0] >= depth:
            above.pop()
        parents[name] = above[-1][1] if above else None
        above.append((depth, name))
    return parents


def test_the_drawing_is_the_tree() -> None:
    """Otherwise who catches errors by the drawing misses one, or catches too much."""
    real = {name: None if cls is GatewatchError else cls.__bases__[0].__name__ for name, cls in CLASSES.items()}
    assert drawn() == real


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_every_error_says_what_it_means(name: str) -> None:
    """Otherwise a class in the documentation is a name without a sentence."""
    assert (CLASSES[name].__doc__ or "").strip().endswith(".")


def test_a_config_error_starts_with_the_key() -> None:
    """Otherwise the user has to search the file for what is meant."""
    error = ConfigError("kafka.partitions", "must be at least 1")
    assert str(error) == "kafka.partitions: must be at least 1"
    assert (error.path, error.problem) == ("kafka.partitions", "must be at least 1")
    assert str(ConfigError("", "is empty")) == "is empty"


def test_a_decode_error_starts_with_its_reason() -> None:
    """Otherwise dead letters cannot be counted by reason."""
    error = DecodeError(BadReason.TIME, "field ts: not a time")
    assert (str(error), error.reason) == ("time: field ts: not a time", BadReason.TIME)


@pytest.mark.parametrize(
    "error", [ConfigError("a.b", "is wrong"), DecodeError(BadReason.JSON, "no JSON"), errors.SendError("topic t: gone")]
)
def test_errors_cross_processes(error: GatewatchError) -> None:
    """Otherwise an error in a child process arrives as a TypeError of pickle, and its text is lost."""
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy)) == (type(error), str(error))
