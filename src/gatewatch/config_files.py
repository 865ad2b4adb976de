"""Reads YAML files strictly, and says what is wrong with one in the words of the file, not of the library."""

from __future__ import annotations

import difflib
import re
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from gatewatch.errors import ConfigError

_SHOWN = 60  # characters of a wrong value in an error: enough to find it


def read_mapping(path: Path, name: str, sections: str) -> dict[str, Any]:
    """The mapping that a YAML file holds; an empty file is an empty one.

    Args:
        path: the file.
        name: what errors call it.
        sections: some keys that such a file has, for the error where it is something else.

    Raises:
        ConfigError: it cannot be read, is not YAML, names a key twice, or is no mapping.
    """
    try:
        data = yaml.load(path.read_bytes().decode(), Loader=_Strict)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise ConfigError(name, f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(name, "is not UTF-8 text") from error
    except yaml.YAMLError as error:
        raise ConfigError(name, f"is not YAML: {_where(error)}") from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(name, f"must be a mapping of sections ({sections}, ...)")
    return data


def placed(error: ConfigError, path: Path) -> ConfigError:
    """The error with the file and the line at which its key stands; of a missing key, the line of what should hold it.

    Cost: the file is read once more.
    """
    try:
        node = yaml.compose(path.read_bytes().decode(), Loader=_Strict)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return error
    line = _line(node, error.path) if node is not None else 0
    return ConfigError(error.path, error.problem, f"{path} line {line}" if line else str(path))


def _line(node: yaml.Node, path: str) -> int:
    """The line of the deepest part of a dotted path that the file has; 0 where it has none. A key may have dots."""
    if isinstance(node, yaml.SequenceNode):
        head, _dot, rest = path.partition(".")
        if not head.isdigit() or int(head) >= len(node.value):
            return 0
        item = node.value[int(head)]
        return _line(item, rest) or item.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if path == key.value or path.startswith(f"{key.value}."):
                return _line(value, path[len(key.value) + 1 :]) or key.start_mark.line + 1
    return 0


def _where(error: yaml.YAMLError) -> str:
    """What the parser says, in one line."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        what = " ".join(part for part in (error.context, error.problem) if part)
        return f"line {mark.line + 1}, column {mark.column + 1}: {what}"
    return str(error)


def nearest(name: str, known: Iterable[str]) -> str:
    """How an error about an unknown name ends: with the nearest that there is, else with all.

    >>> nearest("aler", ["off", "alert"]), nearest("zzz", ["off", "alert"])
    (": did you mean 'alert'?", '; there are: off, alert')
    """
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f": did you mean {close[0]!r}?" if close else f"; there are: {', '.join(names)}"


def explain(error: ValidationError, model: type[BaseModel], prefix: str = "") -> ConfigError:
    """The first thing that is wrong. An unknown key goes first: it is often why another one is missing."""
    problems = error.errors()
    first = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    path = ".".join(str(part) for part in (*([prefix] if prefix else []), *first["loc"]))
    if first["type"] == "extra_forbidden":
        return ConfigError(path, f"unknown key{_nearest(model, first['loc'])}")
    if first["type"] == "enum":
        return ConfigError(path, _no_such(first["input"], first["ctx"]["expected"]))
    return ConfigError(path, first["msg"].removeprefix("Value error, "))


def _no_such(value: object, expected: str) -> str:
    """What there is instead of a value that is none of a closed set."""
    known = re.findall(r"'([^']*)'", expected)
    return f"no {str(value)[:_SHOWN]!r} here{nearest(str(value), known)}"


class _Strict(yaml.SafeLoader):
    """YAML in which a key may stand once: of two, the plain loader takes the last in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key_node, _value in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key_node.tag != "tag:yaml.org,2002:merge":
                if key in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{key!r} stands there twice", key_node.start_mark
                    )
                seen.add(key)
        return super().construct_mapping(node, deep)


def _nearest(model: type[BaseModel], loc: tuple[int | str, ...]) -> str:
    """A hint with the nearest known key, or all of them."""
    known = _fields_at(model, loc[:-1])
    close = difflib.get_close_matches(str(loc[-1]), known, n=1)
    if close:
        return f": did you mean {close[0]!r}?"
    return f" (known: {', '.join(sorted(known))})" if known else ""


def _fields_at(model: Any, loc: tuple[int | str, ...]) -> list[str]:
    """Names of the fields of the model that ``loc`` leads to, walking through lists, dicts and options."""
    if not loc:
        return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []
    annotation: Any = model
    if isinstance(model, type) and issubclass(model, BaseModel):
        field = model.model_fields.get(str(loc[0]))
        annotation = field.annotation if field is not None else None
    else:
        args = [a for a in getattr(model, "__args__", ()) if a not in (type(None), Ellipsis, str, int)]
        annotation = args[0] if args else None
    return _fields_at(_unwrap(annotation), loc[1:])


def _unwrap(annotation: Any) -> Any:
    """``X | None`` is X."""
    args = getattr(annotation, "__args__", None)
    if args and type(None) in args:
        return next(a for a in args if a is not type(None))
    return annotation
