"""Objects become parts of plain values and the same objects again, or are refused with the place."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict

from gatewatch.errors import StateError
from gatewatch.state.plans import UNSAVED
from gatewatch.state.shapes import BLOCK_ROWS, Parts, Shape, decode, encode
from gatewatch.testing.deep import differences


class Colour(StrEnum):
    """Of a leaf."""

    RED = "red"
    GREEN = "green"


class Place(NamedTuple):
    """A key."""

    x: int
    name: str


class Label(BaseModel):
    """Frozen, so it is its own copy."""

    model_config = ConfigDict(frozen=True)
    text: str
    at: float


@dataclass(slots=True)
class Leaf:
    """A row."""

    colour: Colour
    last: deque[str] = field(default_factory=lambda: deque(maxlen=2))
    counts: Counter[Colour] = field(default_factory=Counter)


@dataclass(slots=True, eq=False)
class Node:
    """Something with an identity, which refers to its own kind."""

    name: str
    into: Node | None = None
    leaf: Leaf | None = None


@dataclass(slots=True)
class Branch:
    """A part with a limit."""

    limit: int = field(metadata=UNSAVED)
    nodes: OrderedDict[str, Node] = field(default_factory=OrderedDict)
    leaves: dict[Place, Leaf] = field(default_factory=dict)


@dataclass(slots=True)
class Tree:
    """A state."""

    branch: Branch
    root: Node | None = None
    labels: dict[int, Label] = field(default_factory=dict)
    heap: list[tuple[float, str]] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    given: float | None = None


def tree(limit: int = 3) -> Tree:
    """One with something in every field; two nodes lead to a third, and one to itself."""
    root = Node("root", leaf=Leaf(Colour.RED, deque(["a", "b", "c"], 2), Counter({Colour.GREEN: 2})))
    circle = Node("circle")
    circle.into = circle
    made = Tree(Branch(limit), root)
    made.branch.nodes |= {"z": Node("z", into=root), "a": Node("a", into=root), "o": circle}
    made.branch.leaves[Place(1, "p")] = Leaf(Colour.GREEN)
    made.labels = {7: Label(text="t", at=float("-inf"))}
    made.heap, made.seen, made.given = [(1.0, "x"), (2.5, "y")], {"s"}, 0.1
    return made


def test_what_comes_back_is_the_same_in_value_order_and_identity() -> None:
    """If this fails, a restart changes what is known, or makes two of one."""
    shape, one, other = Shape(Tree), tree(), Tree(Branch(9))
    shape.fill(other, decode(encode(shape.copy(one))))
    assert list(differences(one, other)) == []
    assert other.branch.limit == 9  # the setting of today
    assert other.branch.nodes["z"].into is other.branch.nodes["a"].into is other.root
    assert other.branch.nodes["o"].into is other.branch.nodes["o"]
    leaf = other.root.leaf if other.root is not None else None
    assert leaf is not None
    assert leaf.last == deque(["b", "c"], maxlen=2)


def test_many_rows_are_written_in_blocks() -> None:
    """If this fails, encoding a large state on a thread stops the loop for as long as it takes."""
    shape, one, other = Shape(Tree), tree(), Tree(Branch(3))
    one.branch.leaves = {Place(n, "p"): Leaf(Colour.RED) for n in range(2 * BLOCK_ROWS + 1)}
    arrays = encode(shape.copy(one))
    assert [name for name in arrays if "leaves" in name] == [f"branch/leaves#{n}" for n in range(3)]
    shape.fill(other, decode(arrays))
    assert list(differences(one, other)) == []


@pytest.mark.parametrize(
    "change",
    [
        {"given": "x"},
        {"heap": [[1.0]]},
        {"root": 99},
        {"root": -1},
        {"labels": [[7, {"text": "t"}]]},
        {"@Node": [{}]},
        {"@Node": None},
        {"branch/leaves": [[[1, "p"], {"colour": "blue", "last": [2, []], "counts": []}]]},
    ],
)
def test_what_does_not_fit_is_refused_without_showing_it(change: Parts) -> None:
    """If this fails, rubbish in the topic becomes state, or what is in it becomes a log line."""
    shape = Shape(Tree)
    parts = decode(encode(shape.copy(tree()))) | change
    with pytest.raises(StateError, match=r"^a snapshot does not fit this version \(\w+\)$"):
        shape.fill(Tree(Branch(3)), parts)
    with pytest.raises(StateError, match="cannot be read"):
        decode({"a#0": np.array([0xC1], np.uint8)})  # a byte that MessagePack never uses


def test_a_field_that_cannot_be_written_is_refused_when_the_class_is_loaded() -> None:
    """If this fails, somebody adds a field, and the first restart in production loses or breaks it."""

    @dataclass
    class Holder:
        inner: dict[str, list[dict[str, int]]]

    @dataclass
    class Limited:
        limit: int = field(metadata=UNSAVED)

    @dataclass
    class Holds:
        rows: dict[str, Any]

    Holds.__annotations__["rows"] = dict[str, Limited]
    with pytest.raises(TypeError, match=r"Holder\.inner: .* cannot be in a snapshot"):
        Shape(Holder)
    with pytest.raises(TypeError, match=r"Holds\.rows: Limited is in a container"):
        Shape(Holds)


def test_the_digest_differs_where_a_field_does() -> None:
    """If this fails, a snapshot of another version is taken for one of this."""

    @dataclass
    class One:
        a: int

    @dataclass
    class Two:
        a: float

    @dataclass
    class Three:
        b: int

    digests = {Shape(cls).digest for cls in (One, Two, Three)}
    assert len(digests) == 3
    assert Shape(One).digest in digests
