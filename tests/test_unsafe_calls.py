"""No code of ours, of a detector or of an example can be made to run what it reads, or to trust without a check."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("src", "detectors", "examples", "deploy", "benchmarks", "evaluation")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
# To decode with these is to run what the bytes say, and none has a safe form that is worth the risk.
MODULES = frozenset(
    {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "jsonpickle", "marshal", "shelve"}
)
BUILTINS = frozenset({"eval", "exec", "compile", "__import__"})
# By their last two names, whatever an import has called the first one: see `_full_name`.
CALLS = frozenset(
    {
        "os.system", "os.popen", "os.startfile", "tempfile.mktemp", "subprocess.getoutput",
        "subprocess.getstatusoutput", "yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.unsafe_load_all",
        "yaml.full_load", "yaml.full_load_all",
        "pandas.read_pickle", "pandas.eval", "torch.load", "numexpr.evaluate", "builtins.eval", "builtins.exec",
        "ssl._create_unverified_context", "ssl._create_stdlib_context", "hashlib.md5", "hashlib.sha1",
        "asyncio.create_subprocess_shell",
    }
)  # fmt: skip
# Keywords that open a door wherever they stand, with the value that opens it. `numpy.load` needs none: pickles are off.
KEYWORDS = (("shell", True), ("allow_pickle", True), ("verify", False), ("ssl", False), ("autoescape", False))
# Why a use is safe, by file and what it is; each must be there.
ALLOWED = {
    ("src/gatewatch/config_files.py", "yaml.load"): "with a loader that is a subclass of SafeLoader",
    ("src/gatewatch/log/kafka_connect.py", "ssl.CERT_NONE"): "asks a port that should be plain whether it answers TLS",
}


def unsafe(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of each thing in a module that should not be there."""
    aliases = dict(_aliases(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, a.name) for a in node.names if a.name.partition(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            if node.module.partition(".")[0] in MODULES:
                yield node.lineno, node.module
            yield from (
                (node.lineno, f"{node.module}.{a.name}") for a in node.names if f"{node.module}.{a.name}" in CALLS
            )
        elif isinstance(node, ast.Name) and node.id in BUILTINS:
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and (name := _full_name(node, aliases)) in {*CALLS, "ssl.CERT_NONE"}:
            yield node.lineno, name
        elif isinstance(node, ast.Call):
            yield from _keywords(node)


def _keywords(call: ast.Call) -> Iterator[tuple[int, str]]:
    for given in call.keywords:
        for name, value in KEYWORDS:
            if given.arg == name and isinstance(given.value, ast.Constant) and given.value.value is value:
                yield call.lineno, f"{name}={value}"


def _aliases(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """What names of modules are called here: ``np`` is numpy."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((a.asname, a.name) for a in node.names if a.asname is not None)


def _full_name(node: ast.Attribute, aliases: dict[str, str]) -> str:
    owner = ast.unparse(node.value)
    return f"{aliases.get(owner, owner)}.{node.attr}"


def _found(path: Path) -> list[tuple[str, str, int]]:
    place = path.relative_to(ROOT).as_posix()
    return [(place, what, line) for line, what in unsafe(ast.parse(path.read_text(encoding="utf-8")))]


def test_nothing_unsafe_is_called_anywhere() -> None:
    """If this fails, whoever can write a topic, a snapshot or a file of settings may run code as the worker."""
    assert {path.relative_to(ROOT).parts[0] for path in FILES} == set(FOLDERS)
    found = [use for path in FILES for use in _found(path)]
    assert [use for use in found if use[:2] not in ALLOWED] == []
    assert {use[:2] for use in found} == set(ALLOWED)


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "import joblib.memory",
        "import marshal as m",
        "eval('1')",
        "run = exec",
        "import os as o\no.system('x')",
        "from os import system",
        "import yaml\nyaml.load(f)",
        "import yaml as y\ny.unsafe_load(f)",
        "from yaml import full_load",
        "import subprocess\nsubprocess.run('x', shell=True)",
        "import subprocess as sp\nsp.getoutput('x')",
        "import numpy as np\nnp.load(f, allow_pickle=True)",
        "import tempfile\ntempfile.mktemp()",
        "import pandas as pd\npd.read_pickle(f)",
        "import httpx\nhttpx.get(u, verify=False)",
        "import ssl\nc.verify_mode = ssl.CERT_NONE",
        "import hashlib\nhashlib.md5(b'')",
    ],
)
def test_the_search_finds(code: str) -> None:
    """If this fails, the test above passes whatever stands in the code."""
    assert list(unsafe(ast.parse(code)))


def test_the_search_lets_good_code_pass() -> None:
    """If this fails, people learn to add exceptions."""
    good = (
        "re.compile('x')", "yaml.safe_load(f)", "subprocess.run(['x'])", "numpy.load(f)", "model.eval()",
        "httpx.get(u, verify=context)",
    )  # fmt: skip
    assert not list(unsafe(ast.parse("\n".join(good))))
